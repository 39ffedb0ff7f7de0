"""A sweep that goes on: what was tried is known at once, is ended, and nothing of it is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from launcher.backends import local
from launcher.cli.continuing import allowed
from launcher.errors import UsageError
from launcher.events import record
from launcher.load import load_job
from launcher.plan import Plan, read_plan, settle
from launcher.prepare import plan_for, write
from launcher.rundir import RunDir, locked
from launcher.search.board import ended_already
from launcher.search.company import Alone
from launcher.search.conduct import departed, driven
from launcher.search.loop import TICK_S, Active, Search
from launcher.search.rungs import Rungs
from launcher.search.slots import parallel
from launcher.search.study import Study
from launcher.search.tally import tally
from launcher.spec.sweep import Sweep
from launcher.supervisor.cause import Failure, Outcome

SWEEP = """
extends: base.yaml
sweep:
  method: grid
  metric: val/loss
  goal: minimize
  parallel: 1
  max_failures: 0
  max_time: 1h
  prune: hyperband
  parameters: {train.optimizer.lr: [0.1, 0.2, 0.3, 0.4]}
"""
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
DONE = {"event": "trial", "trial": 1, "state": "done", "value": 0.5, "parameters": {"train.optimizer.lr": 0.2}}
FAILED = {"event": "trial", "trial": 0, "state": "failed", "reason": "no such net", "parameters": {"train.optimizer.lr": 0.1}}
Resumed = Callable[..., Search]


def ledger_of(run: RunDir, *events: dict[str, Any]) -> None:
    """An event a minute."""
    times = ((BEGAN + timedelta(minutes=number)).isoformat() for number in range(len(events)))
    run.events.write_text("".join(json.dumps({"time": time, **event}) + "\n" for time, event in zip(times, events, strict=True)))


@pytest.fixture
def resumed(folder: Path) -> Resumed:
    (folder / "sweep.yaml").write_text(SWEEP)

    def make(*events: dict[str, Any]) -> Search:
        run = RunDir(folder / "sweep")
        run.path.mkdir()
        ledger_of(run, {"event": "supervising"}, {"event": "searching", "parallel": 3}, *events)
        pool: Any = SimpleNamespace(agents={}, leaving={})
        job = load_job(folder / "sweep.yaml")
        write(run, job, plan_for(job))
        return Search(run, job, pool, Alone(run, read_plan(run)))

    return make


def begun(search: Search) -> list[int]:
    numbers: list[int] = []
    search.begin = lambda trial, *_: numbers.append(trial.number)  # type: ignore[method-assign]
    search.fill()
    return numbers


TRYING = [{"event": "trying", "trial": number} for number in range(3)]


def test_what_had_begun_is_ended_after_too_many_failures_and_nothing_else_begins(resumed: Resumed) -> None:
    search = resumed(*TRYING, FAILED, DONE)
    assert begun(search) == [2]
    assert begun(search) == []
    assert not search.another()


def test_trials_that_ended_stand_in_the_results_though_it_is_stopped_at_once(resumed: Resumed) -> None:
    search = resumed(*TRYING[:2], FAILED, DONE)
    search.ask_all("stop")
    search.turn([], cast(Any, SimpleNamespace(received=[])))
    assert search.outcome is not None
    departed(search, search.outcome)
    rows = (search.run.path / "results.csv").read_text().splitlines()
    assert rows[1:] == ["0,failed,,0.1", "1,done,0.5,0.2"]
    assert search.outcome is not None
    assert "2 trials" in str(search.outcome.reason)


def test_max_time_counts_what_was_spent_before(resumed: Resumed) -> None:
    search = resumed(*[{"event": "note"}] * 40, {"event": "supervising"}, *[{"event": "note"}] * 10)
    assert search.another()
    ledger_of(
        search.run, {"event": "supervising"}, *[{"event": "note"}] * 40, {"event": "supervising"}, *[{"event": "note"}] * 21
    )
    assert not Search(search.run, search.job, search.pool, search.company).another()


def at(hours: float, event: str, **details: Any) -> dict[str, Any]:
    return {"time": (BEGAN + timedelta(hours=hours)).isoformat(), "event": event, **details}


FOLLOWS, QUEUED, AGAIN = at(9, "follows", other=None), at(10, "queued", job="12"), at(12, "supervising")
HANDED_ON = at(1.5, "queued", job="12", after="11")


@pytest.mark.parametrize(
    ("between", "spent"),
    [
        ([AGAIN], 1),  # it was killed after the note
        ([QUEUED, AGAIN], 1),
        ([FOLLOWS, AGAIN], 1),
        ([HANDED_ON, AGAIN], 1.5),
        *[([at(1.5, end), FOLLOWS, QUEUED, AGAIN], 1.5) for end in ("stopped", "cancelled", "failed", "done")],
        ([at(1.5, "stopping"), at(2, "stopped"), at(3, "withdrawn"), AGAIN], 2),
    ],
)
def test_max_time_leaves_out_what_it_lay_stopped_or_waited_in_a_queue(between: list[dict[str, Any]], spent: float) -> None:
    sweep = Sweep.model_validate({"metric": "val/loss", "goal": "minimize", "max_time": "1h", "parameters": {"seed": [1, 2]}})
    entries = [at(0, "prepared"), at(0, "supervising"), at(0, "searching"), at(1, "note"), *between, at(12.5, "note")]
    assert tally(entries, sweep).spent_s == pytest.approx((spent + 0.5) * 3600)


def test_its_trials_are_drawn_as_with_so_many_at_a_time_as_when_it_began(resumed: Resumed) -> None:
    search = resumed()
    assert (search.board.sequence.parallel, len(search.slots)) == (3, 1)


def test_agents_are_heard_between_two_runs_that_begin_and_none_waits_for_a_tick(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "usable_cpus", lambda: tuple(range(3)))
    (folder / "sweep.yaml").write_text(SWEEP.replace("parallel: 1", "parallel: 3"))
    run, job = RunDir(folder / "sweep"), load_job(folder / "sweep.yaml")
    run.path.mkdir()
    write(run, job, plan_for(job))
    polls: list[tuple[float, int]] = []

    def poll(timeout_s: float) -> list[Any]:
        polls.append((timeout_s, len(search.active)))
        if len(polls) == 5:
            search.outcome = Outcome(state="stopped", exit_code=75)
        return []

    pool: Any = SimpleNamespace(agents={}, leaving={}, poll=poll)
    search = Search(run, job, pool, Alone(run, read_plan(run)))
    supervision = SimpleNamespace(tick=lambda: None, outcome=None, look_at_requests=lambda: None)
    search.follow = lambda trial, index, slot, plan, **_: search.active.append(  # type: ignore[method-assign]
        Active(trial, index, slot, cast(Any, supervision), ExitStack())
    )
    driven(search, cast(Any, SimpleNamespace(received=[])))
    assert polls == [(0.0, 0), (0.0, 1), (0.0, 2), (0.0, 3), (TICK_S, 3)]


def test_with_less_room_than_it_began_with_it_goes_on_with_fewer_at_a_time(folder: Path) -> None:
    (folder / "sweep.yaml").write_text(SWEEP.replace("parallel: 1", "parallel: 999"))
    run, job, pool = RunDir(folder / "sweep"), load_job(folder / "sweep.yaml"), SimpleNamespace(agents={}, leaving={})
    run.path.mkdir()
    write(run, job, plan_for(job))
    company = Alone(run, read_plan(run))
    record(run, "prepared")
    with pytest.raises(UsageError, match="999 trials at a time do not fit"):
        Search(run, job, cast(Any, pool), company)
    ledger_of(run, {"event": "supervising"}, {"event": "searching", "parallel": 999})
    search = Search(run, job, cast(Any, pool), company)
    fits = parallel(job.model_copy(update={"sweep": job.sweep.model_copy(update={"parallel": "auto"})}))  # type: ignore[union-attr]
    assert (len(search.slots), search.board.sequence.parallel) == (fits, 999)  # what is drawn does not change


def test_a_trial_that_somebody_has_is_waited_for(resumed: Resumed) -> None:
    search = resumed()
    run = RunDir(search.run.path / "trials/0")
    run.path.mkdir(parents=True)
    with locked(run):
        assert begun(search) == []
    assert begun(search) == [0]


def test_a_trial_that_ran_to_its_end_is_done_though_it_was_to_be_pruned(resumed: Resumed) -> None:
    search = resumed()
    search.board.draw()
    trial, _ = search.board.waiting.pop()
    [run] = trial.runs
    run.path.mkdir(parents=True)
    run.metrics.write_text('{"step": 12, "val/loss": 2.0}\n')
    record(run, "pruned", reason="bad")
    active: Any = SimpleNamespace(trial=trial, index=0, run=run, slot=None, lock=SimpleNamespace(close=lambda: None))
    run.job.write_text((search.run.path.parent / "base.yaml").read_text())
    search.active.append(cast(Active, active))
    search.leave(active, Outcome(state="done", exit_code=0))
    assert (trial.state, trial.value) == ("done", 2.0)
    assert search.board.sequence.study.study.trials[0].intermediate_values == {12: 2.0}  # as after a resume
    record(run, "done")
    assert ended_already(run) == ("done", None)


def test_trials_that_ended_are_compared_with(resumed: Resumed) -> None:
    search = resumed(TRYING[0], {**DONE, "trial": 0})
    run = RunDir(search.run.path / "trials/0")
    run.path.mkdir(parents=True)
    run.metrics.write_text('{"step": 3, "val/loss": 2.0}\n{"step": 6, "val/loss": 1.0}\n')
    assert begun(search) == [1]
    assert isinstance(search.board.rungs, Rungs)
    assert search.board.sequence.study.study.trials[0].intermediate_values == {3: 2.0, 6: 1.0}


def test_hyperbands_brackets_do_not_change(resumed: Resumed) -> None:
    sweep = resumed().sweep
    names = {Study(sweep, 3, {}).study.study_name for _ in range(2)}
    assert len(names) == 1


def test_trials_are_not_made_longer_half_way(resumed: Resumed) -> None:
    job = resumed().job
    longer = ("train.epochs", 1, 2)
    assert not allowed(longer, job)
    assert allowed(longer, job.model_copy(update={"sweep": None}))


def test_trials_share_the_machine_that_a_training_would_have_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "usable_cpus", lambda: tuple(range(8)))
    (folder / "sweep.yaml").write_text(SWEEP.replace("parallel: 1", "parallel: auto"))
    job = load_job(folder / "sweep.yaml", overrides=["resources.procs_per_node=auto", "resources.threads=auto"])
    assert parallel(settle(job, plan_for(job))) == parallel(job) == 4


@pytest.mark.parametrize(
    ("asked", "goes_on"),
    [
        ([], (4, 2)),  # as it began, on 8 cores
        (["resources.threads=1"], (4, 1)),
        (["resources.procs_per_node=1"], (1, 2)),
        (["resources.nodes=2"], (1, 2)),
    ],
)
def test_a_trial_goes_on_with_its_ranks_and_threads_on_another_machine(
    asked: list[str], goes_on: tuple[int, int], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "sweep.yaml").write_text(SWEEP)
    run = RunDir(folder / "sweep")
    run.path.mkdir()
    auto = ["resources.procs_per_node=auto", "resources.threads=auto"]

    def begins(cores: int, overrides: list[str]) -> tuple[int, int]:
        monkeypatch.setattr(local, "usable_cpus", lambda: tuple(range(cores)))
        job = load_job(run.job if run.job.exists() else folder / "sweep.yaml", overrides=overrides)
        write(run, job, plan_for(job))
        pool: Any = SimpleNamespace(agents={}, leaving={})
        search = Search(run, load_job(run.job), pool, Alone(run, read_plan(run)))
        plans: list[Plan] = []
        search.follow = lambda trial, index, slot, plan, **_: plans.append(plan)  # type: ignore[method-assign]
        search.fill()
        [plan], trial = plans, load_job(run.path / "trials/0/job.yaml").resources
        assert (trial.procs_per_node, trial.threads) == (plan.world.procs_per_node, plan.world.threads)
        return plan.world.procs_per_node, plan.world.threads

    assert begins(8, auto) == (4, 2)
    assert begins(4, asked) == goes_on


def test_where_its_ranks_do_not_fit_any_more_a_trial_goes_on_with_others(resumed: Resumed) -> None:
    """They want a GPU each."""
    search = resumed()
    search.board.draw()
    [(trial, _)] = search.board.waiting
    asked = search.job.resources.model_copy(update={"procs_per_node": "auto", "device": "auto"})
    search.job = search.job.model_copy(update={"resources": asked})
    slot = search.slots[0]
    ranks = []
    for gpus in (4, 2):
        machine = replace(slot.cluster.machines[0], gpus=tuple(map(str, range(gpus))), cpus=tuple(range(8)))
        slot.cluster = replace(slot.cluster, machines=(machine,))
        own, plan = search.planned(trial, 0, slot)
        trial.runs[0].path.mkdir(parents=True, exist_ok=True)
        write(trial.runs[0], own, plan)
        ranks.append(plan.world.procs_per_node)
    assert ranks == [4, 2]


@pytest.mark.parametrize(("backend", "back"), [("hosts", True), ("local", False)])
def test_a_lost_node_gives_its_trial_back_and_gets_no_other(backend: str, back: bool, resumed: Resumed) -> None:
    search = resumed()
    search.board.draw()
    trial, _ = search.board.waiting.pop()
    [run] = trial.runs
    run.path.mkdir(parents=True)
    record(run, "failed", reason="the agent of node 0 was lost")
    cluster = SimpleNamespace(backend=backend, machines=[SimpleNamespace(host="n1")])
    slot: Any = SimpleNamespace(cluster=cluster, free=True)
    search.slots.append(slot)
    active: Any = SimpleNamespace(trial=trial, index=0, run=run, slot=slot, lock=SimpleNamespace(close=lambda: None))
    search.active.append(active)
    search.leave(active, Outcome(state="failed", exit_code=1, failure=Failure(attempt=1, kind="agent")))
    assert (search.board.waiting == [(trial, 0)], slot not in search.slots, ended_already(run) is None) == (back, back, back)
    assert (trial.state == "failed") != back


def test_a_trial_is_named_by_its_path_where_somebody_has_it(tmp_path: Path) -> None:
    trial = RunDir(tmp_path / "20261129-mlp-k3f9/trials/0")
    trial.path.mkdir(parents=True)
    with locked(trial), pytest.raises(UsageError, match=f"launch stop {trial.path} --wait"), locked(trial):
        pass
