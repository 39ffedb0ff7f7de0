"""How a run ended, in a block: what came out, where it is, what to type next; after a failure its root cause first."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from launcher import checkpoints
from launcher.cli.options import called
from launcher.cli.terminal import BOLD, GREEN, RED, coloured, duration, labelled, shown_path
from launcher.errors import LaunchError
from launcher.events import Summary, summarize
from launcher.load import load_job
from launcher.rundir import RunDir, json_lines, read_json
from launcher.runs import name_of
from launcher.spec import Job

TAIL_LINES = 12
TRACEBACK_LINE = 160

ADVICE = {
    "spec": "the job itself is wrong: mend it and launch it again",
    "environment": "mend the environment, then: launch resume {run}",
    "oom": "smaller micro-batches need less memory: launch resume {run} --set resources.nodes=N for more ranks, or lower "
    "train.data.micro_batch_size in a new run",
    "nan": "a lower rate, train.clip_grad_norm or precision: fp32 may help; launch debug SPEC --anomaly names the operation",
    "agent": "see what happened to the machine, then: launch resume {run}",
    "exit": "its log says more: launch logs {run} --ranks {rank}",
    "error": "mend it, then: launch resume {run}",
}
SIGNALS = {
    "SIGKILL": "often the kernel, out of memory (dmesg tells): fewer num_workers or smaller batches. Then: launch resume {run}",
    "SIGSEGV": "a crash in native code, of a library or an extension: launch debug SPEC may show where",
    "SIGBUS": "often a full /dev/shm: fewer num_workers, or a larger one. Then: launch resume {run}",
    "SIGABRT": "native code gave up; its log says more: launch logs {run} --ranks {rank}",
}


def report(run: RunDir) -> str:
    """The whole block."""
    summary = summarize(run)
    colour = GREEN if summary.state == "done" else RED if summary.state == "failed" else BOLD
    blocks = [coloured(headline(run, summary), colour)]
    if summary.state == "failed" and (failure := read_json(run.failure)):
        blocks = [root_cause(run, failure, summary.reason), *blocks]
    return "\n".join([*blocks, *labelled(list(facts(run, summary)), indent=2)])


def headline(run: RunDir, summary: Summary) -> str:
    took = f" after {duration(seconds)}" if (seconds := elapsed_s(summary)) is not None else ""
    reason = (summary.reason or "").removeprefix(f"{summary.state}: ")
    told = f": {reason}" if reason and summary.state != "failed" else ""
    return f"{name_of(run)} {summary.state}{took}{told}"


def elapsed_s(summary: Summary) -> float | None:
    """Since the newest launch or resume."""
    begun: datetime | None = next((time for event, time in reversed(summary.times) if event == "supervising"), None)
    return (summary.times[-1][1] - begun).total_seconds() if begun else None


def facts(run: RunDir, summary: Summary) -> Iterator[tuple[str, str]]:
    job = job_of(run)
    rows = [row for row in json_lines(run.metrics) if isinstance(row, dict)]
    if rows:
        yield from metrics(rows, job)
        yield "steps", str(rows[-1].get("step"))
    yield from saved(run, job)
    if run.plots.is_dir() and any(run.plots.iterdir()):
        yield "curves", shown_path(run.plots)
    yield "run", shown_path(run.path)
    yield from (("next", command) for command in suggestions(run, summary, has_rows=bool(rows)))


def metrics(rows: list[dict[str, Any]], job: Job | None) -> Iterator[tuple[str, str]]:
    """Each evaluated metric's last value, and its best where the job says what is best."""
    keys = dict.fromkeys(key for row in rows for key in row if key.startswith(("val/", "test/")))
    best = job.checkpoint.keep_best if job else None
    for key in keys or ["train/loss"]:
        values = [(row[key], row["step"]) for row in rows if isinstance(row.get(key), int | float)]
        if not values:
            continue
        text = f"{values[-1][0]:.4g}"
        if best is not None and key == best.monitor:
            value, step = (min if best.mode == "min" else max)(values, key=lambda pair: pair[0])
            text += f" (best {value:.4g} at step {step})"
        yield key, text


def saved(run: RunDir, job: Job | None) -> Iterator[tuple[str, str]]:
    found = checkpoints.checkpoints(run)
    if not found:
        return
    yield "checkpoint", shown_path(found[-1].path)
    keep_best = job.checkpoint.keep_best if job else None
    best = checkpoints.best(run, keep_best.monitor, keep_best.mode, every_byte=False) if keep_best else None
    if best is not None and best.step != found[-1].step:
        yield "best", shown_path(best.path)


def suggestions(run: RunDir, summary: Summary, *, has_rows: bool) -> Iterator[str]:
    name = shlex.quote(called(run.path))
    if summary.state == "done" and has_rows:
        yield f"launch eval {name} --split val"
    if summary.state in ("stopped", "cancelled", "failed"):
        yield f"launch resume {name}"
    if summary.state == "prepared":
        yield f"launch resume {name}"
    yield f"launch logs {name}"


def root_cause(run: RunDir, failure: dict[str, Any], reason: str | None) -> str:
    """One failure for the whole job: who, what, where, the end of its log, and what to do. `reason`: why it was the last one."""
    rank, step = failure.get("rank"), failure.get("step")
    who = (
        f"rank {rank} on node {failure.get('node')} ({failure.get('host')})"
        if rank is not None
        else f"node {failure.get('node')}"
    )
    at = f" at step {step}" if step is not None else " before its first step"
    lines = [coloured(f"root cause: {who} failed{at}", RED), *(f"  {line}" for line in what(failure))]
    tail = list(failure.get("log_tail") or ())[-TAIL_LINES:]
    if tail:
        log = shown_path(run.rank_log(failure["attempt"], rank)) if rank is not None else "the log"
        lines += [f"  the end of {log}:", *(f"    | {line[:TRACEBACK_LINE]}" for line in tail)]
    if given_up := why_given_up(failure, reason):
        lines.append(f"  not restarted: {given_up}")
    lines.append(f"  what to do: {advice(run, failure)}")
    return "\n".join(lines)


def why_given_up(failure: dict[str, Any], reason: str | None) -> str:
    """The ledger's reason without the failure that it begins with."""
    from launcher.supervisor.cause import Failure

    known = {name: value for name, value in failure.items() if name in Failure.__dataclass_fields__}
    return (reason or "").removeprefix(Failure(**known).sentence()).removeprefix(". ")


def what(failure: dict[str, Any]) -> Iterator[str]:
    message = str(failure.get("message") or "").strip()
    if failure.get("exception"):
        yield from f"{failure['exception']}: {message}".splitlines() if message else [failure["exception"]]
    elif message:
        yield from message.splitlines()
    if failure.get("where"):
        yield f"at {failure['where']}"
    if failure.get("signal"):
        yield f"killed by {failure['signal']}"
    elif failure.get("exit_code") is not None:
        yield f"exit code {failure['exit_code']}"


def advice(run: RunDir, failure: dict[str, Any]) -> str:
    text = SIGNALS.get(failure.get("signal") or "") or ADVICE.get(failure.get("kind") or "", ADVICE["error"])
    return text.format(run=shlex.quote(called(run.path)), rank=failure.get("rank"))


def job_of(run: RunDir) -> Job | None:
    try:
        return load_job(run.job)
    except LaunchError:
        return None
