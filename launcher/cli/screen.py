"""What a person sees while a run goes on: the chosen ranks' output, the progress in one line, and what the supervisor decides."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, TextIO

from launcher.cli.fold import Fold, named
from launcher.cli.tail import Tail
from launcher.cli.terminal import DIM, YELLOW, coloured, columns, cut, is_terminal, say
from launcher.rundir import RunDir

PROGRESS = re.compile(r"step \d+(/\d+)?  epoch \d+\.\d")
"""The built-in worker's. What a script prints of its own steps is output like any other: nothing of it is left out."""
EVALUATED = re.compile(r"\b(val|test)/")
"""A progress line that stays on screen."""
TRACEBACK = re.compile(r"^(\[rank\d+\]: )?Traceback \(most recent call last\):")
HOLD_TRACEBACK_S = 2.0
"""A rank's traceback waits so long for the root cause: where that is another rank's, it is an echo, and stays in the log."""
PLAIN_EVERY_S = 10.0
"""Without a terminal a progress line is shown at most so often: the rank's log has them all."""


class Writer:
    """Lines, and in a terminal one live line below them. A reader that leaves does not end the run: it goes on unseen."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.terminal = is_terminal(stream)
        self.live = ""
        self.shown_at = float("-inf")

    def line(self, text: str) -> None:
        if text == self.live:  # a progress bar that is finished
            self.close()
        else:
            self.write(f"\r\x1b[K{text}\n{self.fitted()}" if self.live else f"{text}\n")

    def supersede(self, text: str) -> None:
        """A line that says more than the progress so far."""
        before, self.live = self.live, ""
        self.write(f"\r\x1b[K{text}\n" if before else f"{text}\n")

    def progress(self, text: str) -> None:
        if self.terminal:
            if text != self.live:
                self.live = text
                self.write(f"\r\x1b[K{self.fitted()}")
        elif (now := time.monotonic()) - self.shown_at >= PLAIN_EVERY_S:
            self.shown_at = now
            self.line(text)

    def fitted(self) -> str:
        return cut(self.live, columns() - 1)

    def clear(self) -> None:
        if self.live:
            self.live = ""
            self.write("\r\x1b[K")

    def close(self) -> None:
        """The last progress stays on screen."""
        if self.live:
            self.live = ""
            self.write("\n")

    def write(self, text: str) -> None:
        say(text, self.stream)


class Screen:
    """Called about ten times a second; each call shows what is new."""

    def __init__(self, run: RunDir, ranks: Sequence[int], stream: TextIO) -> None:
        self.run, self.ranks = run, tuple(ranks)
        self.writer = Writer(stream)
        self.ledger = Tail(run.events, from_end=True)
        self.fold = Fold(len(self.ranks))
        self.attempt: int | None = None
        self.logs: dict[int, Tail] = {}
        self.held: dict[int, list[str]] = {}
        """By rank: a traceback, and what came after it."""
        self.held_since = 0.0
        self.barred: int | None = None
        """The rank whose progress bar is the live line."""
        self.blamed: int | None = None
        """The rank that the newest failure began with."""
        self.why: str | None = None
        """The newest failure, told once it is known that another attempt follows."""

    @property
    def seen(self) -> Sequence[int]:
        """Ranks whose output stands on the terminal, where an error would stand too."""
        return self.ranks if self.writer.terminal and is_terminal(sys.stderr) else ()

    def __call__(self) -> None:
        news = self.ledger.lines()  # read first: what ranks printed before an event is then in their logs
        self.show_output()
        for entry in entries(news):
            self.happened(entry)
        self.show_output()

    def happened(self, entry: dict[str, Any]) -> None:
        reason = entry.get("reason")
        match entry["event"]:
            case "attempt":
                self.finish_output()
                self.writer.close()
                self.follow(entry["attempt"])
                if self.why:
                    self.say(f"attempt {entry['attempt'] - 1} failed: {self.why}")
                    self.why = None
                elif entry["attempt"] > 1:
                    self.say(f"attempt {entry['attempt']} begins")
            case "failure":
                self.why, self.blamed = reason, entry.get("rank")
            case "stopping":
                again = "" if "at once" in str(reason) else " (once more ends it at once)"
                self.say(f"{reason}{again}")
            case "done" | "failed" | "stopped" | "cancelled":
                pass
            case _ if reason:
                self.say(str(reason))

    def follow(self, attempt: int) -> None:
        if attempt == self.attempt:
            return
        self.attempt = attempt
        self.logs = {rank: Tail(self.run.rank_log(attempt, rank)) for rank in self.ranks}
        self.blamed = None

    def show_output(self) -> None:
        now = time.monotonic()
        for rank, log in self.logs.items():
            self.show(rank, log.lines(), now)
            if self.writer.terminal and (bar := log.live):
                self.writer.progress(self.prefixed(rank, bar))
                self.barred = rank
        if now - self.held_since > HOLD_TRACEBACK_S:
            self.release(now)
        for line in self.fold.due(now):
            self.writer.line(line)

    def release(self, now: float) -> None:
        """Shows the tracebacks that were held back, but for the echoes of another rank's failure."""
        for rank, lines in self.held.items():
            if self.blamed in (None, rank):
                for line in lines:
                    self.show_line(rank, line, now)
        self.held.clear()

    def finish_output(self) -> None:
        for rank, log in self.logs.items():
            self.show(rank, log.rest(), time.monotonic())
        self.release(time.monotonic())
        for line in self.fold.rest():
            self.writer.line(line)

    def show(self, rank: int, lines: Sequence[str], now: float) -> None:
        if lines and rank == self.barred:  # the first of them is what the bar became
            self.writer.clear()
            self.barred = None
        for line in lines:
            if rank in self.held:
                self.held[rank].append(line)
            elif TRACEBACK.match(line):
                self.held[rank], self.held_since = [line], now
            else:
                self.show_line(rank, line, now)

    def show_line(self, rank: int, line: str, now: float) -> None:
        if PROGRESS.match(line):
            tell = self.writer.supersede if EVALUATED.search(line) else self.writer.progress
            tell(self.prefixed(rank, line))
        elif len(self.ranks) == 1:
            self.writer.line(line)
        else:
            self.fold.add(rank, line, now)

    def prefixed(self, rank: int, line: str) -> str:
        return line if len(self.ranks) == 1 else f"{named([rank])} | {line}"

    def say(self, text: str) -> None:
        """launcher's own words, told apart from what the ranks print."""
        for line in text.splitlines():
            self.writer.line(coloured(f"[launch] {line}", YELLOW, self.writer.stream))

    def note(self, text: str) -> None:
        self.writer.line(coloured(f"[launch] {text}", DIM, self.writer.stream))

    def close(self) -> None:
        self.finish_output()
        self.writer.close()


def entries(lines: Iterable[str]) -> Iterable[dict[str, Any]]:
    import json

    for line in lines:
        with suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict) and "event" in entry:
                yield entry
