"""One failure for the whole job, as failure.json tells it: who, what, where, the end of its log, and what to do."""

from __future__ import annotations

import shlex
from collections.abc import Container, Iterator
from typing import Any

from launcher.cli.options import called
from launcher.cli.terminal import RED, coloured, shown_path
from launcher.cli.written import Written
from launcher.rundir import RunDir, read_json

TAIL_LINES = 12
LONGEST_LINE = 160
SAYS_IT_ALL = frozenset({"spec", "environment", "nan", "oom"})
"""Kinds whose message is a sentence for the user: the end of the log and the exit code would add noise."""

ADVICE = {
    "spec": "the job itself is wrong: mend it and launch it again",
    "environment": "mend the environment, then: launch resume {run}",
    "oom": "lower train.data.micro_batch_size in a new run, or spread the batch: launch resume {run} --nodes N",
    "nan": "a lower rate, train.clip_grad_norm or precision: fp32 may help; launch debug SPEC --anomaly names the operation",
    "agent": "see what happened to the machine, then: launch resume {run}",
    "hang": "see where each rank was: {stacks}. Slow, not stuck? Raise retry.hang_timeout, or let a script call launcher.pulse()",
    "exit": "its log says more: launch logs {run} --ranks {rank}",
    "error": "mend it, then: launch resume {run}",
}
SIGNALS = {
    "SIGKILL": "often the kernel, out of memory (dmesg tells): fewer num_workers or smaller batches. Then: launch resume {run}",
    "SIGSEGV": "a crash in native code, of a library or an extension: launch debug SPEC may show where",
    "SIGBUS": "often a full /dev/shm: fewer num_workers, or a larger one. Then: launch resume {run}",
    "SIGABRT": "native code gave up; its log says more: launch logs {run} --ranks {rank}",
}


def root_cause(
    run: RunDir, failure: dict[str, Any], reason: str | None, *, seen: Container[int] = (), written: Written | None = None
) -> str:
    """`reason`: the ledger's, which ends with why the run was given up. `seen`: ranks whose output was shown just now."""
    lines = [coloured(f"root cause: {who(failure)}{when(run, failure)}", RED), *(f"  {line}" for line in what(failure))]
    if written is not None and (where := written(str(failure.get("message")))):
        lines.append(f"  {where}")
    if failure.get("kind") not in SAYS_IT_ALL:
        lines += [f"  {line}" for line in end_of_log(run, failure)] if failure.get("rank") not in seen else []
        lines += [f"  not restarted: {why}" for why in why_given_up(failure, reason)]
    return "\n".join([*lines, f"  what to do: {advice(run, failure)}"])


def who(failure: dict[str, Any]) -> str:
    node = f"node {failure.get('node')} ({failure.get('host')})" if failure.get("node") is not None else "all ranks"
    who = node if failure.get("rank") is None else f"rank {failure['rank']} on {node}"
    return f"{who} {'hung' if failure.get('kind') == 'hang' else 'failed'}"


def when(run: RunDir, failure: dict[str, Any]) -> str:
    """A script that never pulsed may have made any number of steps: of it nothing is said."""
    if (step := failure.get("step")) is not None:
        return f" at step {step}"
    entry = (read_json(run.plan) or {}).get("entry") or {}
    return " before its first step" if entry.get("kind") == "worker" else ""


def what(failure: dict[str, Any]) -> Iterator[str]:
    kind, message = failure.get("kind"), str(failure.get("message") or "").strip()
    named = failure.get("exception") if kind not in SAYS_IT_ALL else None
    yield from ": ".join(part for part in (named, message) if part).splitlines()
    if failure.get("where"):
        yield f"at {failure['where']}"
    if failure.get("signal"):
        yield f"killed by {failure['signal']}"
    elif failure.get("exit_code") is not None and kind not in SAYS_IT_ALL:
        yield f"exit code {failure['exit_code']}"


def end_of_log(run: RunDir, failure: dict[str, Any]) -> Iterator[str]:
    tail, rank = list(failure.get("log_tail") or ())[-TAIL_LINES:], failure.get("rank")
    if tail and rank is not None:
        yield f"the end of {shown_path(run.rank_log(failure['attempt'], rank))}:"
        yield from (f"  | {line[:LONGEST_LINE]}" for line in tail)


def why_given_up(failure: dict[str, Any], reason: str | None) -> Iterator[str]:
    """The ledger's reason without the failure that it begins with."""
    from launcher.supervisor.cause import Failure

    known = {name: value for name, value in failure.items() if name in Failure.__dataclass_fields__}
    if why := (reason or "").removeprefix(Failure(**known).sentence()).removeprefix(". "):
        yield why


def advice(run: RunDir, failure: dict[str, Any]) -> str:
    text = SIGNALS.get(failure.get("signal") or "") or ADVICE.get(failure.get("kind") or "", ADVICE["error"])
    stacks = shown_path(run.path / str((failure.get("details") or {}).get("stacks")))
    return text.format(run=shlex.quote(called(run.path)), rank=failure.get("rank"), stacks=stacks)
