from __future__ import annotations

from typing import Any

import pytest

from launcher.supervisor.cause import Failure
from launcher.supervisor.ladder import Budget, decide

SIGKILL = Failure(attempt=1, rank=1, node=0, host="h", kind="signal", signal="SIGKILL")
ERROR = Failure(attempt=1, rank=1, node=0, host="h", kind="error", exception="ValueError", where="a.py:3", step=5, pulses=5)
EARLY = Failure(attempt=1, rank=1, node=0, host="h", kind="error", exception="ValueError", where="a.py:3")
LOST = Failure(attempt=1, node=1, host="h", kind="agent", message="the agent of node 1 was lost")


def failure(kind: Any, **parts: Any) -> Failure:
    return Failure(attempt=1, rank=0, node=0, host="h", kind=kind, **parts)


@pytest.mark.parametrize(
    ("what", "budget", "given", "action", "words"),
    [
        (SIGKILL, Budget(allowed=3), {}, "restart", "restart 1 of 3"),
        (SIGKILL, Budget(allowed=3, used=3), {}, "give up", "used up"),
        (SIGKILL, Budget(allowed=3, used=3, progress=10), {"progress": 20}, "restart", "restart 1 of 3"),
        (LOST, Budget(allowed=1), {}, "restart", "restart 1 of 1"),
        (EARLY, Budget(allowed=3), {}, "give up", "before its first step"),
        (EARLY, Budget(allowed=3), {"builtin": False, "age_s": 1.0}, "give up", "in its first 60 s, before any launcher.pulse"),
        (EARLY, Budget(allowed=3), {"builtin": False, "age_s": 61.0}, "restart", "restart 1 of 3"),
        (ERROR, Budget(allowed=3), {}, "restart", "restart 1 of 3"),
        (ERROR, Budget(allowed=3, last=ERROR), {}, "give up", "the same step (5) twice"),
        (ERROR, Budget(allowed=3, last=ERROR, progress=2), {"progress": 4}, "restart", "restart 1 of 3"),
        (SIGKILL, Budget(allowed=0), {"engine": "torchrun"}, "give up", "torchrun's own"),
        (failure("nan", pulses=3), Budget(allowed=3), {}, "give up", "not finite"),
        (failure("oom", details={"micro_batch_size": 8}), Budget(allowed=0), {}, "restart", "micro-batches of 8"),
    ],
)
def test_what_follows_a_failure(what: Failure, budget: Budget, given: dict[str, Any], action: str, words: str) -> None:
    decision = decide(what, budget, **{"engine": "launcher", "age_s": 1.0, "progress": -1, "builtin": True, **given})
    assert decision.action == action
    assert words in decision.reason


@pytest.mark.parametrize(("kind", "code"), [("spec", 2), ("environment", 3), ("nan", 1)])
def test_what_cannot_be_retried_has_its_exit_code(kind: Any, code: int) -> None:
    assert decide(failure(kind), Budget(allowed=3), engine="launcher", age_s=0, progress=-1, builtin=True).exit_code == code


def test_running_out_of_memory_does_not_count() -> None:
    oom = failure("oom", details={"micro_batch_size": 8})
    decision = decide(oom, Budget(allowed=1, used=1), engine="launcher", age_s=0, progress=-1, builtin=True)
    assert (decision.action, decision.counts) == ("restart", False)
