"""What follows a failure, in one function that a reader can check; its reason stands in events.jsonl in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from launcher.supervisor.cause import Failure

ALIVE_S = 60.0
"""A script that never pulses has made its first step once it is so old (CONTRACTS: In a user's own script)."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Restarts since the last progress: a newer checkpoint, or for a script a newer step."""

    allowed: int
    used: int = 0
    progress: int = -1
    """The furthest step that cannot be lost any more."""
    last: Failure | None = None

    def after(self, failure: Failure, progress: int, *, counts: bool) -> Budget:
        used = 0 if progress > self.progress else self.used
        return Budget(allowed=self.allowed, used=used + counts, progress=max(progress, self.progress), last=failure)


@dataclass(frozen=True, kw_only=True)
class Decision:
    action: Literal["restart", "give up"]
    reason: str
    counts: bool = True
    exit_code: int = 1


def decide(
    failure: Failure, budget: Budget, *, engine: str, age_s: float, progress: int, builtin: bool, elsewhere: bool = False
) -> Decision:
    """`age_s`: how long the attempt's ranks lived. `progress`: the newest checkpoint's step, or a script's own last step.

    `elsewhere`: only one of several nodes failed, and there is another one to try instead.
    """
    if failure.kind == "spec":
        return Decision(action="give up", reason="the job itself is wrong: another attempt would end the same", exit_code=2)
    if elsewhere and not like_last(failure, budget):
        return restart_within(budget, progress)
    if failure.kind == "environment":
        return Decision(action="give up", reason="the environment is wrong: another attempt would end the same", exit_code=3)
    if failure.kind == "nan":
        return Decision(action="give up", reason="the loss is not finite, and the same steps would give the same loss")
    if engine == "torchrun" and failure.kind not in ("agent", "hang"):
        return Decision(action="give up", reason="restarts are torchrun's own, and it gave up")
    if failure.kind == "oom" and failure.details and failure.details.get("micro_batch_size"):
        size = failure.details["micro_batch_size"]
        return Decision(action="restart", reason=f"out of memory: the next attempt takes micro-batches of {size}", counts=False)
    if failure.users_error and not took_first_step(failure, age_s, builtin=builtin):
        return Decision(action="give up", reason=f"{early(builtin=builtin)}: another attempt would end the same")
    if repeats(failure, budget, progress):
        return Decision(
            action="give up", reason=f"the same error at the same step ({failure.step}) twice, with no progress between"
        )
    return restart_within(budget, progress)


def restart_within(budget: Budget, progress: int) -> Decision:
    used = 0 if progress > budget.progress else budget.used
    if used >= budget.allowed:
        return Decision(action="give up", reason=f"all {budget.allowed} restarts since the last progress are used up")
    return Decision(action="restart", reason=f"restart {used + 1} of {budget.allowed} since the last progress")


def like_last(failure: Failure, budget: Budget) -> bool:
    """The same on another node: then it is not the node."""
    last = budget.last
    return last is not None and failure.users_error and (failure.kind, failure.exception) == (last.kind, last.exception)


def took_first_step(failure: Failure, age_s: float, *, builtin: bool) -> bool:
    return failure.pulses > 0 or (not builtin and age_s >= ALIVE_S)


def early(*, builtin: bool) -> str:
    if builtin:
        return "it failed before its first step"
    return f"it failed in its first {ALIVE_S:.0f} s, before any launcher.pulse(step)"


def repeats(failure: Failure, budget: Budget, progress: int) -> bool:
    """The same exception at the same line and step as last time: deterministic, so a third time would be the same."""
    last = budget.last
    return (
        last is not None
        and progress <= budget.progress
        and failure.kind == last.kind == "error"
        and failure.step is not None
        and (failure.step, failure.exception, failure.where) == (last.step, last.exception, last.where)
    )


def carried(entries: Sequence[Mapping[str, Any]], *, allowed: int, progress: int) -> Budget:
    """What an earlier job of the run has used up since the last checkpoint, or since the user began or resumed it."""
    used = 0
    for entry in reversed(entries):
        if entry["event"] in ("checkpoint", "prepared") or (entry["event"] == "queued" and entry.get("after") is None):
            break
        used += entry["event"] == "failure" and entry.get("counts", True)
    return Budget(allowed=allowed, used=used, progress=progress)


def jobs_without_progress(entries: Sequence[Mapping[str, Any]]) -> int:
    """Queue jobs in a row, the newest one included, that began and left no new checkpoint."""
    jobs: set[str] = set()
    for entry in reversed(entries):
        if entry["event"] in ("checkpoint", "prepared") or (entry["event"] == "queued" and entry.get("after") is None):
            break
        if entry["event"] == "supervising" and entry.get("job"):
            jobs.add(entry["job"])
    return len(jobs)
