"""The same search over any Python function: for people who only want the search, and to measure it by."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import optuna

from launcher.errors import LaunchError, UsageError
from launcher.load.differ import leaves
from launcher.rundir import RunDir, locked, read_json, write_atomic, write_json
from launcher.search.calling import Call, calling, found, why
from launcher.search.journal import Journal
from launcher.search.sequence import Sequence
from launcher.search.space import integers_of, values
from launcher.search.trials import RESULTS, Trial, best, results_text, write_parameters
from launcher.spec.sweep import Sweep

SPEC = "sweep.json"
"""What the folder was begun with."""
Told = Callable[[Trial, bool], None]
"""Called with each trial that has ended, and whether it is the best so far."""


def search_function(
    function: Callable[..., float] | str, sweep: Sweep, *, seed: int, name: str, folder: Path, told: Told | None = None
) -> optuna.Study:
    """Calls `function(**parameters)` for each trial, in this process or, with several at a time, in others.

    `folder` holds optuna.journal, results.csv and best.yaml, and is gone on with where it is there. Raises UsageError where it is
    another search's, or where the function cannot be found; LaunchError where more than max_failures of the trials failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder):
        return searched(function, sweep, seed=seed, name=name, folder=folder, told=told)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Raises UsageError: two that search in one folder would number their trials alike."""
    with ExitStack() as held:
        try:
            held.enter_context(locked(RunDir(folder)))
        except UsageError:
            raise UsageError(f"another process searches in {folder} now: wait for its end, or --set name=another") from None
        yield


def searched(
    function: Callable[..., float] | str, sweep: Sweep, *, seed: int, name: str, folder: Path, told: Told | None
) -> optuna.Study:
    begin(folder, {"sweep": sweep.model_dump(mode="json"), "seed": seed})
    if isinstance(function, str):
        found(function)  # what is not there is told before other processes look for it
    parallel = 1 if sweep.parallel == "auto" else sweep.parallel
    sequence = Sequence(sweep, seed, folder, parallel=parallel, name=name, whole=integers_of(sweep))
    clock = Clock(sequence.journal, sweep)
    trials: dict[int, Trial] = {}
    winner: Trial | None = None
    try:
        with calling(function, parallel) as begin_call:
            for trial in ended(sequence, trials, begin_call, clock):
                better = trial.state == "done" and (winner is None or best({0: winner, 1: trial}, sweep) is trial)
                winner = trial if better else winner
                if told is not None:
                    told(trial, better)
                if (end := too_many_failed(trials, sweep)) is not None:
                    raise end
    finally:
        clock.keep()
        sequence.close()
        write_atomic(folder / RESULTS, results_text(sweep, trials))
        if winner is not None:
            write_parameters(folder, winner)
    return sequence.journal.study


def too_many_failed(trials: Mapping[int, Trial], sweep: Sweep) -> LaunchError | None:
    """How it ends with them."""
    ends = [trial for trial in trials.values() if trial.state != "running"]
    failed = [trial for trial in ends if trial.state == "failed"]
    if len(failed) <= sweep.max_failures:
        return None
    reason = next((f": {trial.reason}" for trial in failed if trial.reason), "")  # what an earlier process was told is forgotten
    return LaunchError(f"{len(failed)} of {len(ends)} trials failed (max_failures: {sweep.max_failures}){reason}")


class Clock:
    """The time that a search has taken, by all processes that conducted it, as far as they lived to write it down."""

    def __init__(self, journal: Journal, sweep: Sweep) -> None:
        self.journal, self.limit = journal, sweep.max_time
        self.began = time.monotonic() - journal.spent_s

    @property
    def up(self) -> bool:
        return self.limit is not None and time.monotonic() - self.began > self.limit.seconds

    def keep(self) -> None:
        if self.limit is not None:
            self.journal.spend(time.monotonic() - self.began)


def ended(sequence: Sequence, trials: dict[int, Trial], call: Call, clock: Clock) -> Iterator[Trial]:
    """Trials as they end."""
    running: dict[Future[float], Trial] = {}
    while True:
        while len(running) < sequence.parallel and (drawn := following(sequence, clock)) is not None:
            trial = Trial(sequence.asked - 1, drawn, values(sequence.sweep, drawn), [])
            trials[trial.number] = trial
            if (before := sequence.journal.ends.get(trial.number)) is not None:
                trial.state, trial.value = before
                sequence.ended(trial.number, *before)
                yield trial
                continue
            running[call(trial.parameters)] = trial
        if not running:
            return
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            trial = running.pop(future)
            try:
                trial.value, trial.state = finite(future.result()), "done"
            except (Exception, SystemExit) as error:
                trial.state, trial.reason = "failed", why(error)
            clock.keep()
            sequence.ended(trial.number, trial.end, trial.value)
            yield trial


def following(sequence: Sequence, clock: Clock) -> dict[str, Any] | None:
    """What was drawn for the next trial, if another is to begin now. One that was begun before is ended, however late it is."""
    return sequence.next() if sequence.ready() and (sequence.known or not clock.up) else None


def finite(value: float) -> float:
    """Raises ValueError where it says nothing about the parameters."""
    if not math.isfinite(value):
        raise ValueError(f"{value} is not finite")
    return float(value)


def begin(folder: Path, given: dict[str, Any]) -> None:
    """Raises UsageError where the folder was begun with another search."""
    before = read_json(folder / SPEC)
    if before is None:
        write_json(folder / SPEC, given)
        return
    old, new = dict(leaves(before)), dict(leaves(given))
    changed = [f"{path}: {old.get(path)} -> {new.get(path)}" for path in {**old, **new} if old.get(path) != new.get(path)]
    if changed:
        raise UsageError("\n  ".join([f"{folder} holds another search, which cannot be gone on with:", *changed]))
