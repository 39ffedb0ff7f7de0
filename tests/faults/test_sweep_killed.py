"""A sweep whose processes are killed at random comes to the trials, parameters, values and weights of an undisturbed one."""

from __future__ import annotations

import random
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.faults.conftest import until
from tests.faults.processes import left, roles
from tests.faults.test_killed_at_any_instant import JOB, outcome
from tests.faults.test_violence import SMALL, Scene, remains

Kill = Callable[[str, random.Random], bool]
"""Kills one of the processes that bear the mark; whether the sweep is to be resumed."""


def spec(method: str, trials: int, *, folds: int | None = None, ranks: int = 1) -> dict[str, Any]:
    return {
        **JOB,
        "train": {**JOB["train"], "model": SMALL, "epochs": 2},
        "resources": {"procs_per_node": ranks, "threads": 1, "device": "cpu"},
        "sweep": {
            "method": method, "metric": "val/loss", "goal": "minimize", "trials": trials, "parallel": 2 // ranks, "folds": folds,
            "parameters": {
                "train.optimizer.lr": {"min": 1e-4, "max": 0.1, "log": True},
                "train.model.dropout": {"min": 0.0, "max": 0.5},
            },
        },
    }  # fmt: skip


def one_of(name: str, mark: str, dice: random.Random) -> psutil.Process:
    """Waits for one where there is none at this moment."""
    found = until(lambda: [process for role, process in roles(mark) if role == name])
    return dice.choice(found)  # type: ignore[no-any-return]


def a_rank(mark: str, dice: random.Random) -> bool:
    return killed([one_of("rank", mark, dice)])


def an_agent(mark: str, dice: random.Random) -> bool:
    return killed([one_of("agent", mark, dice)])


def a_node(mark: str, dice: random.Random) -> bool:
    """An agent with all that descends from it, as by a power cut."""
    agent = one_of("agent", mark, dice)
    with suppress(psutil.NoSuchProcess):
        killed([agent, *agent.children(recursive=True)])
    return False


def the_supervisor(mark: str, dice: random.Random) -> bool:
    """Whose agents and ranks are left to themselves."""
    killed([one_of("supervisor", mark, dice)])
    return True


VICTIMS: tuple[Kill, ...] = (a_rank, an_agent, the_supervisor, a_node)


def killed(processes: list[psutil.Process]) -> bool:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    return False


def came_to(scene: Scene) -> dict[str, Any]:
    """What must not differ: each trial with its parameters and value, and how each training ended."""
    sweep = the_sweep(scene)
    runs = sorted(each.parent for each in sweep.glob("trials/**/metrics.jsonl"))
    ends = {str(run.relative_to(sweep)): outcome(run) for run in runs}
    best = (sweep / "best.yaml").read_text().replace(str(scene.folder), "")
    return {"results": (sweep / "results.csv").read_text(), "best": best, **ends}


def the_sweep(scene: Scene) -> Path:
    return until(lambda: next(iter(scene.folder.glob("runs/2*")), None))  # type: ignore[no-any-return]


@pytest.fixture
def scenes() -> Iterator[Callable[[], Scene]]:
    made: list[Scene] = []

    def make() -> Scene:
        made.append(Scene(Path(folders.enter_context(tempfile.TemporaryDirectory()))))
        return made[-1]

    with ExitStack() as folders:
        yield make
        for scene in made:
            scene.close()


def plain(scene: Scene, job: dict[str, Any]) -> tuple[dict[str, Any], float]:
    """What it comes to undisturbed, and how long it takes (seconds)."""
    began = time.monotonic()
    assert scene.wait(scene.launch(str(scene.spec(job))), 900) == 0, scene.screen()
    return came_to(scene), time.monotonic() - began


def disturbed(scene: Scene, job: dict[str, Any], dice: random.Random, *, kills: int, seconds: float) -> dict[str, Any]:
    """All kills fall into the sweep: they make it longer than the undisturbed one took."""
    process = scene.launch(str(scene.spec(job)))
    sweep = the_sweep(scene)
    victims = [VICTIMS[number % len(VICTIMS)] for number in range(kills)]
    dice.shuffle(victims)
    for number, victim in enumerate(victims):
        time.sleep(dice.uniform(0.0, 1.5) * seconds / kills)
        assert process.poll() is None, f"it ended before kill {number}: {scene.screen()}"
        if victim(scene.mark, dice):
            scene.wait(process)
            assert left(scene.mark) == [], f"left behind after kill {number}, {victim.__name__}"
            process = scene.launch("resume", str(sweep))
    assert scene.wait(process, 900) == 0, scene.screen()
    assert left(scene.mark) == []
    assert remains(scene, sweep) == []
    return came_to(scene)


@pytest.mark.long
def test_a_few_kills_change_nothing_that_is_tried(scenes: Callable[[], Scene]) -> None:
    job = spec("random", 6)
    expected, seconds = plain(scenes(), job)
    assert disturbed(scenes(), job, random.Random(1), kills=4, seconds=seconds) == expected


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("method", "trials", "folds", "ranks"),
    [
        ("random", 30, None, 1),
        ("tpe", 30, None, 1),
        ("gp", 30, None, 1),
        ("cma", 30, None, 1),
        ("tpe", 12, 3, 1),
        ("tpe", 15, None, 2),
    ],
)
def test_twenty_kills_change_nothing_that_is_tried(
    method: str, trials: int, folds: int | None, ranks: int, scenes: Callable[[], Scene]
) -> None:
    job = spec(method, trials, folds=folds, ranks=ranks)
    expected, seconds = plain(scenes(), job)
    assert expected["results"].count("done") == trials
    assert disturbed(scenes(), job, random.Random(trials), kills=20, seconds=seconds) == expected
