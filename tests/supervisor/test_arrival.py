"""A successor and the job before it: never two that go on with a run, and never none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from launcher import backends
from launcher.backends.waiting import Standing
from launcher.errors import BackendError, UsageError
from launcher.rundir import RunDir, owner
from launcher.supervisor import arrival, supervise
from launcher.supervisor.succession import left_over
from tests.launch.test_rundir import HOLD
from tests.supervisor.test_loop import events, when
from tests.supervisor.test_succession import ledger

Scripted = Callable[..., RunDir]


@pytest.fixture
def frozen(scripted: Scripted) -> Iterator[tuple[RunDir, int]]:
    """A run of Slurm whose supervisor stands still, and its pid."""
    run = scripted({})
    run.plan.write_text(run.plan.read_text().replace('"backend": "local"', '"backend": "slurm"'))
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(run.path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    holder.send_signal(signal.SIGSTOP)
    yield run, holder.pid
    holder.kill()
    holder.communicate()


def answers(monkeypatch: pytest.MonkeyPatch, state: str | None) -> None:
    """What the queue says of the job before."""
    queue = ModuleType("queue")

    def standing(_job: str) -> Standing:
        if state is None:
            raise BackendError("no answer")
        return Standing(state=state, began=None, ends=None, preempted=False)

    queue.standing = standing  # type: ignore[attr-defined]
    monkeypatch.setitem(backends.QUEUES, "slurm", queue)
    monkeypatch.setattr(arrival, "ASKS_S", 0.05)


@pytest.mark.parametrize("state", ["CANCELLED", "NODE_FAIL"])
def test_a_run_is_taken_from_a_job_that_is_over(frozen: tuple[RunDir, int], monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    run, _ = frozen
    answers(monkeypatch, state)
    with arrival.held(run, follows="1", inherited=None, patience_s=30.0):
        assert (owner(run) or {})["pid"] == os.getpid()


@pytest.mark.parametrize("state", ["RUNNING", "COMPLETING", None])
def test_a_run_is_left_to_a_job_that_may_not_be_over(
    frozen: tuple[RunDir, int], monkeypatch: pytest.MonkeyPatch, state: str | None
) -> None:
    run, pid = frozen
    answers(monkeypatch, state)
    with pytest.raises(UsageError, match=f"process {pid} on"), arrival.held(run, follows="1", inherited=None, patience_s=0.5):
        pass


def test_a_supervisor_whose_run_was_taken_ends_without_a_word(scripted: Scripted) -> None:
    run = scripted({})

    def take() -> None:
        aside = run.path / "aside"
        aside.write_text('{"host": "elsewhere", "pid": 1}')
        aside.replace(run.lock)

    when(run, "running", take)
    assert supervise(run).reason == "a newer attempt of this run has begun elsewhere"
    assert events(run)[-1] == "running"


@pytest.mark.parametrize(
    ("kinds", "own", "left"),
    [
        (["queued", "supervising:1", "successor:2"], "1", ["2"]),  # job 1 was requeued
        (["queued", "supervising:1", "successor:2", "stopped", "queued", "supervising:3"], "3", ["2"]),  # no answer from Slurm
        (["queued", "supervising:1", "successor:2", "supervising:2"], "2", []),
        (["queued", "supervising:1", "successor:2", "withdrawn:2", "queued", "supervising:3"], "3", []),
        (["queued", "supervising:1", "successor:2"], "2", []),
    ],
)
def test_a_successor_is_withdrawn_where_the_run_goes_on_without_it(kinds: Any, own: str, left: list[str]) -> None:
    assert left_over(ledger(*kinds), own) == left
