"""Several tasks of an array at one sweep, in one process and with a queue that says what a test wants."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from signal import Signals
from types import SimpleNamespace
from typing import Any

import pytest

from launcher.backends.waiting import Waiting
from launcher.errors import BackendError
from launcher.events import Summary, fold, ledger, record
from launcher.load import load_job
from launcher.plan import read_plan
from launcher.prepare import plan_for, write
from launcher.rundir import RunDir
from launcher.search import tasks
from launcher.search.conduct import departed
from launcher.search.loop import Search
from launcher.search.tasks import Tasks
from launcher.search.trials import Trial
from launcher.supervisor.cause import Failure, Outcome
from launcher.supervisor.following import follow

SWEEP = """
extends: base.yaml
sweep:
  method: grid
  metric: val/loss
  goal: minimize
  parallel: 1
  parameters: {train.optimizer.lr: [0.1, 0.2, 0.3]}
"""
FOLDS = "extends: base.yaml\nsweep: {metric: val/loss, goal: minimize, folds: 3, parallel: 1}\n"
DONE = Outcome(state="done", exit_code=0)
SAVED = Outcome(state="stopped", exit_code=75, reason="at the time limit: saved")
QUIET: Any = SimpleNamespace(received=[])


class FakeQueue:
    def __init__(self) -> None:
        self.jobs: dict[str, Waiting] = {}
        self.own = ""
        self.answers = True
        self.pending = 0
        self.asked: list[str] = []

    def own_job(self) -> str:
        return self.own

    def waiting(self, _users: Any) -> dict[str, Waiting]:
        if not self.answers:
            raise BackendError("no controller")
        return dict(self.jobs)

    def tasks_waiting(self, _array: str) -> int:
        return self.pending

    def succeed(self, *_: Any, after: str) -> str:
        self.asked.append(f"behind {after}")
        return str(int(after) + 90)

    def again(self, _run: RunDir, *, after: Any) -> str:
        self.asked.append(f"again behind {' and '.join(after)}")
        return str(10 + len(self.asked))

    def take_back(self, number: str) -> None:
        self.asked.append(f"take back {number}")

    def withdraw(self, number: str) -> None:
        self.asked.append(f"withdraw {number}")


class Array:
    """Tasks of it come when they are called for."""

    def __init__(self, folder: Path, text: str) -> None:
        (folder / "sweep.yaml").write_text(text)
        self.job, self.run = load_job(folder / "sweep.yaml"), RunDir(folder / "sweep")
        self.run.path.mkdir()
        write(self.run, self.job, plan_for(self.job))
        record(self.run, "queued", job="10")
        self.queue = FakeQueue()

    def task(self, name: str) -> Search:
        self.queue.own = name
        self.queue.jobs[name] = Waiting(number=name, state="RUNNING")
        plan = replace(read_plan(self.run), at_a_time=3)
        company = Tasks(self.run, self.job, plan, self.queue, array=name.partition("_")[0])  # type: ignore[arg-type]
        pool: Any = SimpleNamespace(agents={}, leaving={})
        search = Search(self.run, self.job, pool, company, at_a_time=3)
        search.follow = lambda trial, index, slot, plan, **_: self.follow(search, trial, index, slot)  # type: ignore[method-assign]
        assert company.arrive(trials=3, parallel=3) is None
        return search

    def follow(self, search: Search, trial: Trial, index: int, slot: Any) -> None:
        ending = SimpleNamespace(wished="limit", by_queue=False)
        supervision = SimpleNamespace(ending=ending, tick=lambda: None, look_at_requests=lambda: None, outcome=None)
        active: Any = SimpleNamespace(
            trial=trial, index=index, run=trial.runs[index], slot=slot, supervision=supervision,
            lock=SimpleNamespace(close=lambda: None),
        )  # fmt: skip
        search.active.append(active)

    def dies(self, name: str) -> None:
        self.queue.jobs[name] = Waiting(number=name, state="NODE_FAIL")

    @property
    def state(self) -> tuple[str, str | None, str | None]:
        told = fold(ledger(self.run))
        return told.state, told.job, told.successor

    def told(self, event: str) -> list[dict[str, Any]]:
        return [entry for entry in ledger(self.run) if entry["event"] == event]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "LOOKS_S", 0.0)
    monkeypatch.setattr(tasks, "ASKS_S", 0.0)


@pytest.fixture
def array(folder: Path) -> Callable[[str], Array]:
    return lambda text: Array(folder, text)


def takes(search: Search) -> tuple[int, int] | None:
    """What it has in its hands after a look; the queue's answers are waited for."""
    for _ in range(3):
        search.fill()
        search.company.errands.settle(5)  # type: ignore[union-attr]
    return (search.active[0].trial.number, search.active[0].index) if search.active else None


def ends(search: Search, outcome: Outcome, value: float | None = None) -> None:
    [active] = search.active
    if value is not None:
        active.run.metrics.write_text(json.dumps({"step": 1, "val/loss": value}) + "\n")
    record(active.run, outcome.state, reason=outcome.reason)
    search.leave(active, outcome)


def test_each_takes_the_next_trial_and_learns_what_came_of_the_others(array: Callable[[str], Array]) -> None:
    there = array(SWEEP)
    one, two = there.task("10_1"), there.task("10_2")
    assert [takes(one), takes(two)] == [(0, 0), (1, 0)]
    ends(one, DONE, 0.5)
    assert takes(one) == (2, 0)
    ends(two, DONE, 0.4)
    assert takes(two) is None
    assert two.idle  # trial 2 is in good hands
    assert [trial.value for trial in one.board.known.values()] == [0.5, None, None]
    late = there.task("10_3")
    assert takes(late) is None
    assert {number: trial.value for number, trial in late.board.known.items()} == {0: 0.5, 1: 0.4, 2: None}
    assert len(there.told("trial")) == 2
    ends(one, DONE, 0.3)
    assert takes(one) is None
    one.conclude()
    assert one.outcome is not None
    assert (one.departure, one.outcome.reason) == ("over", "3 trials, the best is trial 2: val/loss 0.3")
    departed(one, one.outcome)
    assert there.state == ("done", "10", None)
    assert "withdraw 100" in there.queue.asked
    late.ending = "leave"
    late.conclude()
    assert late.outcome is not None
    departed(late, late.outcome)
    assert there.state == ("done", "10", None)
    nothing = Tasks(there.run, there.job, late.company.plan, there.queue, array="10")  # type: ignore[arg-type]
    assert nothing.arrive(trials=3, parallel=3) is not None


def test_folds_are_shared_and_one_that_comes_late_takes_none_twice(array: Callable[[str], Array]) -> None:
    there = array(FOLDS)
    one, two = there.task("10_1"), there.task("10_2")
    assert [takes(one), takes(two)] == [(0, 0), (0, 1)]
    ends(one, DONE, 0.3)
    late = there.task("10_3")
    assert takes(late) == (0, 2)
    assert takes(one) is None
    ends(two, DONE, 0.5)
    assert not there.told("trial")
    ends(late, DONE, 0.4)
    [told] = there.told("trial")
    assert (told["value"], told["state"]) == (pytest.approx(0.4), "done")


def test_when_a_fold_fails_those_under_way_end_and_no_other_begins(array: Callable[[str], Array]) -> None:
    there = array(FOLDS)
    one, two = there.task("10_1"), there.task("10_2")
    assert [takes(one), takes(two)] == [(0, 0), (0, 1)]
    ends(one, Outcome(state="failed", exit_code=1, reason="no such net"))
    assert takes(one) is None
    ends(two, DONE, 0.5)
    [told] = there.told("trial")
    assert (told["state"], told["reason"]) == ("failed", "no such net")
    assert takes(two) is None


def test_what_a_dead_task_had_is_taken_over_and_its_end_is_counted_once(array: Callable[[str], Array]) -> None:
    there = array(SWEEP)
    one, two, three = (there.task(f"10_{number}") for number in (1, 2, 3))
    assert [takes(each) for each in (one, two, three)] == [(0, 0), (1, 0), (2, 0)]
    record(one.active[0].run, "done")  # and dies before it can say so
    one.active[0].run.metrics.write_text('{"step": 1, "val/loss": 0.9}\n')
    ends(three, DONE, 0.3)
    assert takes(three) is None  # the other two live
    there.dies("10_1")
    assert takes(three) is None
    assert [entry["trial"] for entry in there.told("trial")] == [2, 0]
    there.queue.answers = False
    there.dies("10_2")
    assert takes(three) is None  # as far as is known, it lives
    there.queue.answers = True
    assert takes(three) == (1, 0)
    assert three.active[0].run is not None
    ends(two, DONE, 0.7)  # it had stood still, and wakes up
    assert two.ending == "leave"
    assert [entry["trial"] for entry in there.told("trial")] == [2, 0]
    ends(three, DONE, 0.4)
    assert [entry["trial"] for entry in there.told("trial")] == [2, 0, 1]


def test_a_trial_that_takes_every_node_down_is_failed_in_the_end(array: Callable[[str], Array]) -> None:
    there = array(SWEEP)
    lost = Outcome(state="failed", exit_code=1, reason="lost", failure=Failure(attempt=1, kind="agent"))
    for number in range(1, 5):
        task = there.task(f"10_{number}")
        assert takes(task) == (0, 0)
        task.slots[0].cluster = replace(task.slots[0].cluster, backend="slurm")
        ends(task, lost)
        assert (task.ending, task.slots) == ("leave", [])
    last = there.task("10_5")
    assert takes(last) == (1, 0)
    [told] = there.told("trial")
    assert told["state"] == "failed"
    assert "left no new checkpoint" in told["reason"]


@pytest.mark.parametrize(
    ("pending", "cancelled", "stands"),
    [(3, False, ("queued", "10", "100")), (0, False, ("queued", "100", None)), (0, True, ("stopped", "10", None))],
)
def test_the_last_one_says_who_goes_on(
    pending: int, cancelled: bool, stands: tuple[str, str, str | None], array: Callable[[str], Array]
) -> None:
    there = array(SWEEP)
    one, two = there.task("10_1"), there.task("10_2")
    assert [takes(one), takes(two)] == [(0, 0), (1, 0)]
    there.queue.pending = pending
    for each in (one, two):
        ends(each, SAVED)
        assert each.ending == "leave"
        each.company.cancelled = cancelled
        each.conclude()
        assert each.outcome is not None
        departed(each, each.outcome)
        assert there.state[0] == ("running" if each is one else stands[0])
    assert there.state == stands
    assert ("withdraw 100" in there.queue.asked) == cancelled
    if not cancelled:
        assert takes(there.task("10_4" if pending else "100_1")) == (0, 0)


def test_an_older_array_leaves_the_sweep_to_a_newer_one(array: Callable[[str], Array]) -> None:
    there = array(SWEEP)
    there.task("10_1")
    there.task("100_1")
    old = Tasks(there.run, there.job, read_plan(there.run), there.queue, array="10")  # type: ignore[arg-type]
    nothing = old.arrive(trials=3, parallel=3)
    assert nothing is not None
    assert (nothing.reason, there.state[1]) == ("array 100 goes on with the sweep", "100")


def test_arrays_that_take_no_trial_do_not_follow_each_other_for_ever(array: Callable[[str], Array]) -> None:
    there = array(SWEEP)
    for number in (10, 100, 190, 280):
        there.task(f"{number}_1")  # dies of something
    last = Tasks(there.run, there.job, read_plan(there.run), there.queue, array="370")  # type: ignore[arg-type]
    nothing = last.arrive(trials=3, parallel=3)
    assert nothing is not None
    assert (nothing.state, there.state[0]) == ("stopped", "stopped")


class Following:
    """A sweep behind another run; arrays come and ask for their turn."""

    def __init__(self, there: Array, monkeypatch: pytest.MonkeyPatch) -> None:
        self.there, self.monkeypatch = there, monkeypatch
        self.follow()

    def follow(self) -> None:
        follow(self.there.run, RunDir(self.there.run.path.parent / "other"))

    def turn(self, array: str, *stands: Summary, signals: Sequence[Signals] = ()) -> tuple[str, str | None] | None:
        """`stands`: how the other run does, at one look after the other."""
        looks = iter(stands)
        self.monkeypatch.setattr(tasks, "standing", lambda _: next(looks))
        task = Tasks(self.there.run, self.there.job, read_plan(self.there.run), self.there.queue, array=array)  # type: ignore[arg-type]
        outcome = task.wait_turn(signals)
        return outcome and (outcome.state, outcome.reason)


@pytest.fixture
def behind(array: Callable[[str], Array], monkeypatch: pytest.MonkeyPatch) -> Following:
    return Following(array(SWEEP), monkeypatch)


DONE_BEFORE, GOES_ON, HERE = Summary(state="done"), Summary(state="running", job="5", successor="6"), Summary(state="running")
BEHIND = ("queued", "run other, which it follows, goes on in job 5")


def test_it_does_not_begin_after_a_run_that_failed(behind: Following) -> None:
    failed = Summary(state="failed", reason="no such net")
    nothing = behind.turn("10", failed)
    assert nothing is not None
    assert "run other, which it was to follow, is failed: no such net" in str(nothing[1])
    assert behind.there.state[0] == "stopped"
    assert behind.turn("11", failed) == ("stopped", f"{nothing[1]}: nothing is left to do")
    record(behind.there.run, "queued", job="12")
    assert behind.turn("12", DONE_BEFORE) is None


def test_behind_a_run_that_needs_further_jobs_it_is_queued_again_once(behind: Following) -> None:
    assert behind.turn("10", GOES_ON) == BEHIND
    assert behind.there.state == ("queued", "11", None)
    assert behind.there.queue.asked == ["again behind 5 and 6"]
    assert behind.turn("10", GOES_ON) == ("queued", "array 11 goes on with the sweep")
    assert behind.turn("11", GOES_ON) == BEHIND
    assert behind.there.state == ("queued", "12", None)
    assert behind.turn("12", DONE_BEFORE) is None


def test_behind_a_run_that_is_in_no_queue_it_waits(behind: Following) -> None:
    assert behind.turn("10", HERE, HERE, DONE_BEFORE) is None
    assert not behind.there.queue.asked
    behind.there.run.requests.mkdir()
    behind.there.run.request("stop").touch()
    assert behind.turn("10", HERE) == ("stopped", "launch stop, before it began")
    assert behind.there.state == ("stopped", "10", None)


def test_a_task_that_is_ended_meanwhile_ends_alone(behind: Following) -> None:
    assert behind.turn("10", GOES_ON, signals=[Signals.SIGTERM]) == ("stopped", "SIGTERM received, before it began")
    assert behind.there.state == ("queued", "10", None)


def test_once_begun_it_does_not_look_at_the_other_again(behind: Following) -> None:
    behind.there.task("10_1")
    assert behind.turn("10") is None
    behind.follow()
    record(behind.there.run, "queued", job="20")
    assert behind.turn("20", GOES_ON) == BEHIND


def test_a_request_ends_all_of_them(array: Callable[[str], Array]) -> None:
    there = array(SWEEP)
    one, two = there.task("10_1"), there.task("10_2")
    assert [takes(one), takes(two)] == [(0, 0), (1, 0)]
    there.run.requests.mkdir()
    there.run.request("stop").touch()
    for each in (one, two):
        each.active[0].supervision.end_saved = lambda *_: None  # type: ignore[method-assign]
        each.look()
        assert each.ending == "stop"
        each.active[0].supervision.ending.wished = "stop"
        ends(each, Outcome(state="stopped", exit_code=75))
        each.turn([], QUIET)
        assert each.outcome is not None
        departed(each, each.outcome)
    assert there.state == ("stopped", "10", None)
    assert [entry["index"] for entry in there.told("let_go")] == [0, 0]
