"""Where runs lie, how one is meant on the command line, and what can be said of one at a glance."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from launcher.errors import UsageError
from launcher.events import ledger, summarize
from launcher.lost_time import spent
from launcher.rundir import RunDir, read_json
from launcher.standing import Look, standing

ID = re.compile(r"(\d{8}-\d{6})-(.+)-[a-z0-9]{4}")
CANDIDATES = 10
"""So many runs are named where several fit."""
TAIL_BYTES = 16_384


def runs_folder(given: str | os.PathLike[str] | None = None) -> Path:
    """`--runs`, else LAUNCHER_RUNS, else runs/ in the current folder; absolute."""
    return Path(given or os.environ.get("LAUNCHER_RUNS") or "runs").absolute()


def all_runs(folder: Path) -> list[RunDir]:
    """Oldest first, by the name; of those that began within the same second the ledgers tell which came last.

    Those that were renamed come before the others.
    """
    try:
        names = [entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith(".")]
    except OSError:
        return []
    in_second = Counter(map(second, names))
    runs = [RunDir(folder / name) for name in names]
    return sorted(runs, key=lambda run: (second(run.id), began(run) if in_second[second(run.id)] > 1 else "", run.id))


def second(run_id: str) -> str:
    match = ID.fullmatch(run_id)
    return match[1] if match else ""


def is_run(path: Path) -> bool:
    return RunDir(path).job.is_file() or RunDir(path).plan.is_file()


def find_run(text: str, folder: Path) -> RunDir:
    """The run that is meant: an id, a unique beginning or end of one, a path, `last`, or a job's name (its newest run).

    Raises UsageError with the nearest names, or with the candidates where such a part fits several.
    """
    if ("/" in text or text in (".", "..")) and (path := Path(os.path.normpath(text))).exists():
        if not is_run(path):
            raise UsageError(f"{text} is not a run directory: it holds no job.yaml")
        return RunDir(path)
    runs = all_runs(folder)
    if not runs and not is_run(Path(text)):
        raise UsageError(
            f"there are no runs in {folder} yet. Start one with 'launch SPEC', or name another folder with --runs DIR"
        )
    if text == "last" and runs:
        return runs[-1]
    for fits in (exact(text, runs), named(text, runs), part(text, runs)):
        if fits:
            return fits[0]
    if is_run(Path(text)):
        return RunDir(text)
    raise UsageError(f"no run '{text}' in {folder}.{nearest(text, runs)} 'launch list' shows them all")


def exact(text: str, runs: list[RunDir]) -> list[RunDir]:
    return [run for run in runs if run.id == text]


def named(text: str, runs: list[RunDir]) -> list[RunDir]:
    """A job's newest run."""
    own = [run for run in runs if name_of(run) == text]
    return own[-1:]


def part(text: str, runs: list[RunDir]) -> list[RunDir]:
    """Raises UsageError where several begin or end so."""
    fits = [run for run in runs if text and (run.id.startswith(text) or run.id.endswith(text))]
    if len(fits) > 1:
        shown = [f"  {run.id}" for run in fits[-CANDIDATES:]]
        more = [f"  ... and {len(fits) - CANDIDATES} older"] if len(fits) > CANDIDATES else []
        raise UsageError("\n".join([f"'{text}' fits {len(fits)} runs: give more of it, or 'last'", *shown, *more]))
    return fits


def began(run: RunDir) -> str:
    return next((entry["time"] for entry in ledger(run)), "")


def nearest(text: str, runs: list[RunDir]) -> str:
    from difflib import get_close_matches

    known = {name for run in runs if (name := name_of(run))} | {run.id for run in runs}
    close = get_close_matches(text, sorted(known), n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(repr(name) for name in close)}?" if close else ""


def name_of(run: RunDir) -> str:
    """The job's name: from the id, or where the directory was renamed from its plan."""
    match = ID.fullmatch(run.id)
    return match[2] if match else (read_json(run.plan) or {}).get("name", run.id)


def last_row(run: RunDir) -> dict[str, Any]:
    """The newest row of metrics.jsonl, read from its end; empty where there is none."""
    try:
        with run.metrics.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            whole = file.read().split(b"\n")[:-1]
        row = json.loads(whole[-1])
    except (OSError, ValueError, IndexError):
        return {}
    return row if isinstance(row, dict) else {}


def last_news(run: RunDir) -> datetime | None:
    """When it was last heard of: an event, or a logged step where its supervisor died and no event tells."""
    told = [time for _, time in summarize(run).times[-1:]]
    with suppress(OSError):
        told.append(datetime.fromtimestamp(run.metrics.stat().st_mtime, UTC))
    return max(told, default=None)


def status(run: RunDir, look: Look | None = None) -> dict[str, Any]:
    """What `launch status --json` shows (CONTRACTS: JSON)."""
    summary = standing(run, look)
    logged = last_row(run).get("step")
    known = [step for step in (summary.step, logged) if isinstance(step, int)]
    time = spent(run)
    return {
        "id": run.id,
        "name": name_of(run),
        "state": summary.state,
        "reason": summary.reason,
        "step": max(known, default=None),
        "attempts": summary.attempts,
        "job": summary.job,
        "backend": summary.backend or (read_json(run.plan) or {}).get("backend"),
        "ettr": time.ettr,
        "time_lost": time.lost,
        "path": str(run.path),
        "began": summary.times[0][1].isoformat() if summary.times else None,
        "last_event": summary.times[-1][1].isoformat() if summary.times else None,
    }
