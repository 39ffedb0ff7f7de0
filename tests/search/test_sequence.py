"""Parameters of the k-th trial: a function of spec, seed and the values before it, whatever the timing and whoever asks."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from launcher.search.sequence import Sequence
from launcher.search.study import Study
from launcher.spec.sweep import Sweep

CONTINUOUS = {"x": {"min": -2.0, "max": 2.0}, "y": {"min": 1e-3, "max": 1.0, "log": True}, "k": [[1], [2, 3], "a"]}
ENUMERABLE = {"x": [1, 2, 3], "y": ["b", None], "z": {"min": 1, "max": 3, "step": 2}}


def sweep_of(method: str, trials: int | None = 18, parameters: dict[str, Any] | None = None) -> Sweep:
    chosen = parameters or (ENUMERABLE if method == "grid" else CONTINUOUS)
    given = {"method": method, "metric": "val/loss", "goal": "minimize", "trials": trials, "parameters": chosen}
    return Sweep.model_validate(given)


def value(drawn: dict[str, Any]) -> float:
    return sum(float(number) ** 2 for number in drawn.values() if isinstance(number, int | float))


def search(sweep: Sweep, folder: Path, *, timing: int, parallel: int, until: int | None = None) -> list[dict[str, Any]]:
    """All that was drawn, where trials end in the order of `timing`; every seventh fails."""
    folder.mkdir(exist_ok=True)
    sequence = Sequence(sweep, 5, folder, parallel=parallel, name="s", whole=frozenset({"z"}))
    chance, running, drawn = random.Random(timing), {}, []
    try:
        while True:
            while len(running) < parallel and sequence.ready() and (found := sequence.next()) is not None:
                running[sequence.asked - 1] = found
                drawn.append(found)
                if sequence.asked == until:
                    return drawn
            if not running:
                return drawn
            number = chance.choice(sorted(running))
            ended = running.pop(number)
            sequence.ended(number, *(("done", value(ended)) if number % 7 else ("failed", None)))
    finally:
        sequence.close()


@pytest.mark.parametrize("method", ["grid", "random", "tpe", "cma"])
@pytest.mark.parametrize("parallel", [1, 3])
def test_neither_timing_nor_a_kill_changes_what_is_tried(method: str, parallel: int, tmp_path: Path) -> None:
    sweep = sweep_of(method)
    plain = search(sweep, tmp_path / "a", timing=1, parallel=parallel)
    assert search(sweep, tmp_path / "b", timing=2, parallel=parallel) == plain
    begun = search(sweep, tmp_path / "c", timing=3, parallel=parallel, until=9)
    assert begun == plain[:9]
    assert search(sweep, tmp_path / "c", timing=4, parallel=parallel) == plain


def test_gaussian_processes_are_asked_in_a_process_of_their_own(tmp_path: Path) -> None:
    sweep = sweep_of("gp", trials=13)
    plain = search(sweep, tmp_path / "a", timing=1, parallel=2)
    search(sweep, tmp_path / "b", timing=3, parallel=2, until=12)
    assert search(sweep, tmp_path / "b", timing=2, parallel=2) == plain
    loaded = "import sys; from launcher.search.sequence import Sequence; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True).stdout == "False\n"


@pytest.mark.parametrize(("method", "learns"), [("tpe", 14), ("cma", None)])  # cma learns generation by generation
def test_a_trial_knows_the_values_of_those_at_least_as_many_before_it_as_run_at_a_time(
    method: str, learns: int | None, tmp_path: Path
) -> None:
    """The value of trial 11 changes trial 14 (three at a time), and none before it."""
    sweep = sweep_of(method, parameters={"x": {"min": -2.0, "max": 2.0}, "y": {"min": 0.1, "max": 1.0}})

    def drawn(name: str, odd: float) -> list[dict[str, Any]]:
        (tmp_path / name).mkdir()
        sequence = Sequence(sweep, 5, tmp_path / name, parallel=3, name="s", whole=frozenset())
        found = []
        for number in range(24):
            if number >= 3:
                sequence.ended(number - 3, "done", odd if number - 3 == 11 else value(found[number - 3]))
            found.append(sequence.next())
        return found

    low, high = drawn("low", -100.0), drawn("high", 100.0)
    assert low[:14] == high[:14]
    assert low != high
    assert learns is None or low[learns] != high[learns]


def test_grid_and_random_try_nothing_twice(tmp_path: Path) -> None:
    grid = search(sweep_of("grid", trials=None), tmp_path / "grid", timing=0, parallel=1)
    assert len(grid) == len({repr(each) for each in grid}) == 12
    few = sweep_of("random", trials=40, parameters=ENUMERABLE)
    drawn = search(few, tmp_path / "random", timing=0, parallel=2)
    assert len(drawn) == len({repr(each) for each in drawn}) == 12


@pytest.mark.parametrize(
    ("low", "high", "step", "points"),
    [
        (0.0, 0.3, 0.1, [0.0, 0.1, 0.2, 0.3]),
        (0, 0.6, 0.1, [0.0, 0.1, 0.2, 3 * 0.1, 0.4, 0.5, 0.6]),
        (0.1, 0.7, 0.1, [0.1, 0.2, 0.1 + 2 * 0.1, 0.4, 0.5, 0.6, 0.7]),
        (0, 0.15, 0.05, [0.0, 0.05, 0.1, 0.15]),
        (0.1, 0.75, 0.2, [0.1, 0.1 + 0.2, 0.5, 0.7]),
    ],
)
def test_a_grid_ends_where_its_range_does_and_begins_as_ever(
    low: float, high: float, step: float, points: list[float], tmp_path: Path
) -> None:
    """However little more than the end so many steps come to; what a grid that has begun tries next does not change."""
    sweep = sweep_of("grid", None, {"x": {"min": low, "max": high, "step": step}})
    assert [each["x"] for each in search(sweep, tmp_path / "a", timing=0, parallel=1)] == points
    assert points[:-1] == [low + i * step for i in range(len(points) - 1)]


def test_a_range_whose_steps_miss_its_end_is_searched_without_a_word(recwarn: pytest.WarningsRecorder, tmp_path: Path) -> None:
    sweep = sweep_of("random", parameters={"x": {"min": 1, "max": 10, "step": 4}, "y": {"min": 0.1, "max": 0.75, "step": 0.2}})
    drawn = search(sweep, tmp_path / "a", timing=0, parallel=1)
    assert {each["x"] for each in drawn} == {1, 5, 9}
    assert max(each["y"] for each in drawn) == pytest.approx(0.7)
    assert not recwarn.list


def test_alone_tpe_is_optunas_own_answer(tmp_path: Path) -> None:
    """Of the same sampler and seed, told the same values."""
    import optuna

    from launcher.search.space import distributions
    from launcher.search.study import sampler, seed_of

    sweep = sweep_of("tpe")
    spaces = distributions(sweep, frozenset())
    bare = optuna.create_study(direction="minimize")
    expected = []
    for number in range(18):
        bare.sampler = sampler("tpe", seed_of(5, number))
        trial = bare.ask(spaces)
        expected.append(dict(trial.params))
        done = value(trial.params) if number % 7 else None
        bare.tell(trial, done, state=None if done is not None else optuna.trial.TrialState.FAIL)
    assert search(sweep, tmp_path / "a", timing=0, parallel=1) == expected


def test_another_answer_of_cma_than_before_is_told() -> None:
    from launcher.errors import BackendError
    from launcher.search.space import distributions

    sweep = sweep_of("cma", parameters={"x": {"min": 0.0, "max": 1.0}})
    study = Study(sweep, 5, distributions(sweep, frozenset()))
    with pytest.raises(BackendError, match="does not give trial 0 the parameters that it had before"):
        study.ask(0, {"x": 0.123})
