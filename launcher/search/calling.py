"""Calls of a function: in this process, or several at a time in others."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from launcher.errors import UsageError
from launcher.search.space import Parameters

INTERRUPT = frozenset({signal.SIGINT})
Call = Callable[[Parameters], Future[float]]


@contextmanager
def calling(function: Callable[..., float] | str, parallel: int) -> Iterator[Call]:
    """What begins a call: at once in this process, or in one of several others."""
    if parallel == 1:
        call = found(function) if isinstance(function, str) else function
        yield lambda parameters: called(call, parameters)
        return
    processes = Processes(function, parallel)
    try:
        yield processes.call
    finally:
        processes.close()


class Processes:
    """One for each call at a time: of one that dies the other calls hear nothing, and another takes its place."""

    def __init__(self, function: Callable[..., float] | str, count: int) -> None:
        self.function = function
        self.each = [one_process() for _ in range(count)]
        self.calls: list[Future[float] | None] = [None] * count

    def call(self, parameters: Parameters) -> Future[float]:
        free = next(at for at, call in enumerate(self.calls) if call is None or call.done())
        before = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPT)  # inherited by a process that begins with it
        try:
            self.calls[free] = future = self.begin(free, parameters)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return future

    def begin(self, at: int, parameters: Parameters) -> Future[float]:
        try:
            return self.each[at].submit(call_it, self.function, parameters)
        except BrokenProcessPool:  # it died of the call before
            self.each[at].shutdown()
            self.each[at] = one_process()
            return self.each[at].submit(call_it, self.function, parameters)

    def close(self) -> None:
        for process in self.each:
            process.shutdown()


def one_process() -> ProcessPoolExecutor:
    """It begins with its first call, and stays for further ones."""
    context, here = multiprocessing.get_context("spawn"), (str(Path.cwd()),)
    return ProcessPoolExecutor(1, mp_context=context, initializer=prepare_to_call, initargs=here)


def why(error: BaseException) -> str:
    """Why a call came to no value."""
    if isinstance(error, BrokenProcessPool):
        said = str(error.__cause__ or "").strip("\n'").splitlines()
        return f"its process was lost: {said[-1] if said else 'killed, out of memory, or os._exit'}"
    return f"{type(error).__name__}: {error}"


def prepare_to_call(folder: str) -> None:
    """A terminal's Ctrl-C reaches this process too, and ends it without a traceback."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, INTERRUPT)
    sys.path.insert(0, folder)


def called(function: Callable[..., float], parameters: Mapping[str, Any]) -> Future[float]:
    future: Future[float] = Future()
    try:
        future.set_result(function(**parameters))
    except (Exception, SystemExit) as error:
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
