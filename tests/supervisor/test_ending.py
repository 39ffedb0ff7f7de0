"""By whose wish a run ends, where several have one."""

from __future__ import annotations

import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from launcher.rundir import RunDir
from launcher.supervisor.ending import AGAIN_S, Ending, Wish


@pytest.fixture
def asked() -> list[str]:
    """What was asked of the attempt."""
    return []


@pytest.fixture
def ending(tmp_path: Path, asked: list[str]) -> Ending:
    attempt: Any = SimpleNamespace(number=1, ask_to_stop=lambda: asked.append("save"), kill=lambda: asked.append("kill"))
    succession: Any = SimpleNamespace(
        batch=True, ask=lambda: None, withdraw=lambda: asked.append("withdraw"),
        why_terminated=lambda *, saving: "limit" if saving else "stop",
        errands=SimpleNamespace(under_way=0),
    )  # fmt: skip
    plan: Any = SimpleNamespace(entry=SimpleNamespace(kind="worker"))
    return Ending(RunDir(tmp_path), Any, plan, succession, lambda: attempt)  # type: ignore[arg-type]


@pytest.mark.parametrize("wish", ["limit", "preempted", "given up", "terminated"])
def test_the_first_ctrl_c_while_a_queues_end_is_saved_ends_it_saved(ending: Ending, asked: list[str], wish: Wish) -> None:
    ending.end_saved("the queue", wish)
    ending.wished_at -= AGAIN_S
    ending.signalled(signal.SIGINT)
    assert (ending.wished, ending.stop_code, asked) == ("interrupt", 130, ["save"])
    ending.signalled(signal.SIGINT)
    assert asked == ["save", "kill"]


def test_a_cancel_stays_one_whatever_the_queue_says_of_its_sigterm(ending: Ending, asked: list[str]) -> None:
    ending.terminated("SIGTERM received")
    ending.end_at_once("launch cancel", "cancel")
    ending.explain()
    assert (ending.wished, asked) == ("cancel", ["save", "kill"])


def test_saving_for_the_time_limit_may_last_into_its_sigterm(ending: Ending, asked: list[str]) -> None:
    """By a clock that is behind the controller's the limit is not reached yet."""
    ending.end_saved("the time limit is near", "limit")
    ending.terminated("SIGTERM received")
    ending.explain()
    assert (ending.wished, asked) == ("limit", ["save"])


def test_a_sigterm_that_no_limit_explains_is_somebodys(ending: Ending, asked: list[str]) -> None:
    ending.terminated("SIGTERM received")
    ending.explain()
    assert (ending.wished, asked) == ("stop", ["save", "withdraw"])
