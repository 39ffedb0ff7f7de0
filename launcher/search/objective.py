"""The same search over any Python function: for people who only want the search, and to measure it by."""

from __future__ import annotations

import math
import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import optuna

from launcher.errors import UsageError
from launcher.load.differ import leaves
from launcher.rundir import RunDir, locked, read_json, write_atomic, write_json
from launcher.search.sequence import Sequence
from launcher.search.space import Parameters, integers_of, values
from launcher.search.trials import RESULTS, Trial, best, results_text, write_parameters
from launcher.spec.sweep import Sweep

SPEC = "sweep.json"
"""What the folder was begun with."""
INTERRUPT = frozenset({signal.SIGINT})
Told = Callable[[Trial, bool], None]
"""Called with each trial that has ended, and whether it is the best so far."""


def search_function(
    function: Callable[..., float] | str, sweep: Sweep, *, seed: int, name: str, folder: Path, told: Told | None = None
) -> optuna.Study:
    """Calls `function(**parameters)` for each trial, in this process or, with several at a time, in others.

    `folder` holds optuna.journal, results.csv and best.yaml, and is gone on with where it is there. Raises UsageError where it is
    another search's, or where the function cannot be found.
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
    call = found(function) if isinstance(function, str) else function
    parallel = 1 if sweep.parallel == "auto" else sweep.parallel
    sequence = Sequence(sweep, seed, folder, parallel=parallel, name=name, whole=integers_of(sweep))
    trials: dict[int, Trial] = {}
    winner: Trial | None = None
    try:
        with calling(function if isinstance(function, str) else call, parallel) as submit:
            for trial in ended(sequence, sweep, trials, submit, parallel):
                better = trial.state == "done" and (winner is None or best({0: winner, 1: trial}, sweep) is trial)
                winner = trial if better else winner
                if told is not None:
                    told(trial, better)
                if sum(each.state == "failed" for each in trials.values()) > sweep.max_failures:
                    break
    finally:
        sequence.close()
        write_atomic(folder / RESULTS, results_text(sweep, trials))
        if winner is not None:
            write_parameters(folder, winner)
    return sequence.journal.study


def ended(sequence: Sequence, sweep: Sweep, trials: dict[int, Trial], submit: Any, parallel: int) -> Iterator[Trial]:
    """Trials as they end."""
    running: dict[Future[float], Trial] = {}
    while True:
        while len(running) < parallel and sequence.ready() and (drawn := sequence.next()) is not None:
            trial = Trial(sequence.asked - 1, drawn, values(sweep, drawn), [])
            trials[trial.number] = trial
            if (before := sequence.journal.ends.get(trial.number)) is not None:
                trial.state, trial.value = before
                sequence.ended(trial.number, *before)
                yield trial
                continue
            running[submit(trial.parameters)] = trial
        if not running:
            return
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            trial = running.pop(future)
            try:
                trial.value, trial.state = finite(future.result()), "done"
            except Exception as error:
                trial.state, trial.reason = "failed", f"{type(error).__name__}: {error}"
            sequence.ended(trial.number, trial.end, trial.value)
            yield trial


def finite(value: float) -> float:
    """Raises ValueError where it says nothing about the parameters."""
    if not math.isfinite(value):
        raise ValueError(f"{value} is not finite")
    return float(value)


@contextmanager
def calling(function: Callable[..., float] | str, parallel: int) -> Iterator[Callable[[Parameters], Future[float]]]:
    """What begins a call: at once in this process, or in one of several others."""
    if parallel == 1:
        call = found(function) if isinstance(function, str) else function
        yield lambda parameters: called(call, parameters)
        return
    context, here = multiprocessing.get_context("spawn"), (str(Path.cwd()),)
    with ProcessPoolExecutor(parallel, mp_context=context, initializer=prepare_to_call, initargs=here) as executor:

        def submit(parameters: Parameters) -> Future[float]:
            before = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPT)  # inherited by a process that begins with it
            try:
                return executor.submit(call_it, function, parameters)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)

        yield submit


def prepare_to_call(folder: str) -> None:
    """A terminal's Ctrl-C reaches this process too, and ends it without a traceback."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, INTERRUPT)
    sys.path.insert(0, folder)


def called(function: Callable[..., float], parameters: Mapping[str, Any]) -> Future[float]:
    future: Future[float] = Future()
    try:
        future.set_result(function(**parameters))
    except Exception as error:
        future.set_exception(error)
    return future


def call_it(function: Callable[..., float] | str, parameters: Mapping[str, Any]) -> float:
    return (found(function) if isinstance(function, str) else function)(**parameters)


def found(path: str) -> Callable[..., float]:
    """Raises UsageError where there is nothing of that name; an error within the module is the user's to see."""
    module, _, name = path.partition(":")
    if not module or not name:
        raise UsageError(f"--objective: {path} names no function: write my_pkg.mod:function")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        function = getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        raise UsageError(f"--objective: there is no module '{module}' (a function is named my_pkg.mod:function)") from None
    except AttributeError:
        raise UsageError(f"--objective: {module} has no '{name}'") from None
    if not callable(function):
        raise UsageError(f"--objective: {path} is a {type(function).__name__}, not a function")
    return function  # type: ignore[no-any-return]


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
