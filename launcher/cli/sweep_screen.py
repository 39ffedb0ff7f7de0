"""What a person sees while a sweep goes on: a line for each trial that has ended, and in a terminal a table of those that run."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any, TextIO

from launcher.cli.screen import entries
from launcher.cli.tail import Tail
from launcher.cli.terminal import DIM, GREEN, YELLOW, coloured, columns, cut, duration, is_terminal, say
from launcher.rundir import RunDir, json_lines
from launcher.search.tally import TRIAL, TRYING, Tally
from launcher.spec.sweep import Sweep

REDRAW_S = 0.5
LAST_BYTES = 4_096
SHOWN = 8
"""Trials in the table."""


class SweepScreen:
    """Called about ten times a second; each call shows what is new."""

    def __init__(self, run: RunDir, sweep: Sweep, stream: TextIO, *, whole: bool = False) -> None:
        """`whole`: from the sweep's beginning, not from now on."""
        self.run, self.sweep, self.stream = run, sweep, stream
        self.terminal = is_terminal(stream)
        self.ledger = Tail(run.events)
        self.tally = Tally()
        self.told = whole
        """Whether the lines of what was there before have been passed over."""
        self.drawn = 0
        """Lines of the table that stand on the terminal."""
        self.drawn_at = 0.0

    seen: tuple[int, ...] = ()

    def __call__(self) -> None:
        lines = [text for entry in entries(self.ledger.lines()) if (text := self.happened(entry)) and self.told]
        self.told = True
        if lines:
            self.erase()
            say("".join(f"{line}\n" for line in lines), self.stream)
        if self.terminal and (lines or time.monotonic() - self.drawn_at > REDRAW_S):
            self.draw()

    def happened(self, entry: dict[str, Any]) -> str | None:
        before = self.tally.best
        self.tally.hear(entry, self.sweep)
        if entry["event"] == TRIAL:
            return self.ended(entry, better=self.tally.best is not before)
        if entry["event"] in (TRYING, "searching", "done", "failed", "stopped", "cancelled") or not entry.get("reason"):
            return None
        return coloured(f"[launch] {entry['reason']}", YELLOW, self.stream)

    def ended(self, entry: dict[str, Any], *, better: bool) -> str:
        value = f" {self.sweep.metric} {entry['value']:.5g}" if entry.get("value") is not None else ""
        spread = f" ± {entry['spread']:.2g}" if entry.get("spread") is not None else ""
        mark = coloured(" the best so far", GREEN, self.stream) if better else ""
        why = f": {str(entry['reason']).removeprefix('pruned: ')}" if entry["state"] != "done" and entry.get("reason") else ""
        return f"trial {entry['trial']} {entry['state']}{value}{spread}{mark}  {in_short(entry.get('parameters') or {})}{why}"

    def note(self, text: str) -> None:
        say(coloured(f"[launch] {text}", DIM, self.stream) + "\n", self.stream)

    def erase(self) -> None:
        if self.drawn:
            say(f"\r\x1b[{self.drawn}A\x1b[J", self.stream)  # a Ctrl-C has been echoed, perhaps
            self.drawn = 0

    def draw(self) -> None:
        self.erase()
        lines = [cut(line, columns() - 1) for line in self.table()]
        say("".join(f"{line}\n" for line in lines), self.stream)
        self.drawn, self.drawn_at = len(lines), time.monotonic()

    def table(self) -> list[str]:
        known = self.tally
        of = f" of {known.total}" if known.total else ""
        seconds = known.left_s()
        left = f", {duration(seconds)} left" if seconds else ""
        best = f"  best {self.sweep.metric} {known.best['value']:.5g} (trial {known.best['trial']})" if known.best else ""
        head = f"{len(known.ended)}{of} trials{f': {known.counted()}' if known.ended else ''}, {len(known.running)} running"
        rows = [f"  trial {number}{self.progress(number)}  {in_short(given)}" for number, given in sorted(known.running.items())]
        return [f"{head}{left}{best}", *rows[:SHOWN]]

    def progress(self, number: int) -> str:
        runs = [run for run in self.run.trial_runs(number, self.sweep.folds) if run.path.exists()]
        rows = [row for run in runs[-1:] for row in json_lines(run.metrics, last_bytes=LAST_BYTES) if isinstance(row, dict)]
        if not rows:
            return ""
        valued = [row[self.sweep.metric] for row in rows if self.sweep.metric in row]
        value = f"  {self.sweep.metric} {'not finite' if valued[-1] is None else f'{valued[-1]:.5g}'}" if valued else ""
        part = f"  {runs[-1].path.name}" if self.sweep.folds else ""
        return f"{part}  step {rows[-1].get('step')}{value}"

    def close(self) -> None:
        self.erase()


def in_short(parameters: Mapping[str, Any]) -> str:
    """`lr 0.01, hidden [64]`: the last part of a path is enough to know it by, where no two are alike."""
    last = [path.rsplit(".", 1)[-1] for path in parameters]
    names = [name if last.count(name) == 1 else path for path, name in zip(parameters, last, strict=True)]
    return ", ".join(f"{name} {shown(value)}" for name, value in zip(names, parameters.values(), strict=True))


def shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict) and set(value) >= {"target"}:
        rest = ", ".join(f"{key} {shown(item)}" for key, item in value.items() if key != "target")
        return f"{value['target']}({rest})" if rest else str(value["target"])
    return value if isinstance(value, str) else json.dumps(value)
