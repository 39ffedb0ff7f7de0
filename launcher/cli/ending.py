"""How a run ended, in a block: what came out, where it is, what to type next; after a failure its root cause first."""

from __future__ import annotations

import shlex
from collections.abc import Container, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from launcher import checkpoints
from launcher.cli.options import called
from launcher.cli.root_cause import root_cause
from launcher.cli.terminal import BOLD, GREEN, RED, coloured, duration, labelled, shown_path
from launcher.cli.written import Written
from launcher.diagnosis import Records, diagnose, records_of, scaling
from launcher.errors import LaunchError
from launcher.events import Summary, summarize
from launcher.load import load_job
from launcher.lost_time import spent
from launcher.rundir import RunDir, read_json
from launcher.runs import name_of
from launcher.spec import Job

TELL_S = 1.0
"""Seconds; shorter losses are not told of."""
SHOWN_VERDICTS = 3


def report(run: RunDir, *, seen: Container[int] = (), written: Written | None = None) -> str:
    """The whole block. `seen`: ranks whose output was shown just now. `written`: where a message's field stands."""
    summary = summarize(run)
    colour = GREEN if summary.state == "done" else RED if summary.state == "failed" else BOLD
    blocks = [coloured(headline(run, summary), colour)]
    if summary.state == "failed" and (failure := read_json(run.failure)):
        blocks = [root_cause(run, failure, summary.reason, seen=seen, written=written), *blocks]
    time = spent(run)
    first = [("ettr", kept(time.ettr, time.lost))] if time.ettr is not None else []
    return "\n".join([*blocks, *labelled([*first, *facts(run, summary)], indent=2)])


def kept(share: float, lost: Mapping[str, float] | None) -> str:
    """The effective training time ratio, and what the rest of the time went to, the most first."""
    shares = sorted((lost or {}).items(), key=lambda each: -each[1])
    told = [f"{name.replace('_', ' ')} {duration(spent)}" for name, spent in shares if spent >= TELL_S]
    rest = f"; the rest: {', '.join(told)}" if told else ""
    return f"{share} (share of the time since it began whose training was kept{rest})"


def headline(run: RunDir, summary: Summary) -> str:
    took = f" after {duration(seconds)}" if (seconds := elapsed_s(summary)) is not None else ""
    reason = (summary.reason or "").removeprefix(f"{summary.state}: ")
    told = f": {reason}" if reason and (summary.state != "failed" or not run.failure.exists()) else ""
    return f"{name_of(run)} {summary.state}{took}{told}"


def elapsed_s(summary: Summary) -> float | None:
    """Since the newest launch or resume."""
    begun: datetime | None = next((time for event, time in reversed(summary.times) if event == "supervising"), None)
    return (summary.times[-1][1] - begun).total_seconds() if begun else None


def facts(run: RunDir, summary: Summary) -> Iterator[tuple[str, str]]:
    job = job_of(run)
    if job is not None and job.sweep is not None:
        from launcher.cli import show_sweep

        yield from show_sweep.facts(run, summary, job)
        return
    records = records_of(run)
    if rows := records.rows:
        yield from metrics(rows, job)
        yield "steps", str(rows[-1].get("step"))
    if (scaled := scaling(records)) is not None:
        yield "scaling", scaled.words
    yield from diagnosis(records)
    yield from saved(run, job)
    if run.plots.is_dir() and any(run.plots.iterdir()):
        yield "curves", shown_path(run.plots)
    yield from (("profile", f"{shown_path(path)} (open it in https://ui.perfetto.dev)") for path in run.profile.glob("step-*"))
    yield "run", shown_path(run.path)
    yield from (
        ("next", command)
        for command in suggestions(run, summary, has_val=any(key.startswith("val/") for row in rows for key in row))
    )


def metrics(rows: Sequence[Mapping[str, Any]], job: Job | None) -> Iterator[tuple[str, str]]:
    """Each evaluated metric's last value, and its best where the job says what is best."""
    keys = dict.fromkeys(key for row in rows for key in row if key.startswith(("val/", "test/")))
    best = job.keep_best if job else None
    for key in keys or ["train/loss"]:
        values = [(row[key], row["step"]) for row in rows if isinstance(row.get(key), int | float)]
        if not values:
            continue
        text = f"{values[-1][0]:.4g}"
        if best is not None and key == best.monitor:
            value, step = (min if best.mode == "min" else max)(values, key=lambda pair: pair[0])
            text += f" (best {value:.4g} at step {step})"
        yield key, text


def diagnosis(records: Records) -> Iterator[tuple[str, str]]:
    """The first verdicts, each with what to change; `launch diagnose` has their evidence."""
    for verdict in diagnose(records.rows, records.timings, records.entries)[:SHOWN_VERDICTS]:
        yield "diagnosis", f"{verdict.name}: {verdict.words}"
        yield "change", f"{verdict.field}: {verdict.to}"


def saved(run: RunDir, job: Job | None) -> Iterator[tuple[str, str]]:
    found = checkpoints.checkpoints(run)
    if not found:
        return
    yield "checkpoint", shown_path(found[-1].path)
    keep_best = job.keep_best if job else None
    best = checkpoints.best(run, keep_best.monitor, keep_best.mode, every_byte=False) if keep_best else None
    if best is not None and best.step != found[-1].step:
        yield "best", shown_path(best.path)


def suggestions(run: RunDir, summary: Summary, *, has_val: bool) -> Iterator[str]:
    name = shlex.quote(called(run.path))
    if summary.state == "done" and has_val:
        yield f"launch eval {name} --split val"
    if summary.state in ("stopped", "cancelled") or (summary.state == "failed" and not wrong_job(run)):
        yield f"launch resume {name}"
    yield f"launch logs {name}"


def wrong_job(run: RunDir) -> bool:
    return (read_json(run.failure) or {}).get("kind") == "spec"


def job_of(run: RunDir) -> Job | None:
    try:
        return load_job(run.job)
    except LaunchError:
        return None
