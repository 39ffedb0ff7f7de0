"""The warm fork server: one process that has imported what the job uses, from which ranks are forked in milliseconds.

What it inherits at its start, its children keep (OMP_NUM_THREADS, PYTHONHASHSEED, TORCH_LOGS ... have no effect when set later),
so another environment means another fork server. It must be started from the main thread: it dies with the thread that made it.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import selectors
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from launcher.agent.preload import SETTINGS

PRELOAD = "launcher.agent.preload"


class ForkServer:
    def __init__(self, folder: Path, selector: selectors.BaseSelector) -> None:
        self.selector = selector
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload([PRELOAD])
        tempfile.tempdir = str(folder)  # where multiprocessing makes the server's socket: a short path, removed with the folder
        self.log = folder / "fork-server.log"
        self.fifo = folder / "ready"
        self.settings: tuple[dict[str, str], list[str]] | None = None
        self.moved = 0
        """Bytes of the log that stand in a node's log already."""
        self.ready = False
        self.waiting: int | None = None
        """Becomes readable when the imports are done."""

    @property
    def pid(self) -> int | None:
        pid: int | None = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
        return pid

    @property
    def processes(self) -> set[int]:
        """The fork server and multiprocessing's resource tracker: what a sweep leaves alone."""
        tracker = resource_tracker._resource_tracker._pid  # type: ignore[attr-defined]
        return {pid for pid in (self.pid, tracker) if pid is not None}

    def warm(self, environment: Mapping[str, str], modules: Sequence[str]) -> None:
        """Starts importing, unless this very server is there already. Does not wait."""
        wanted = (dict(environment), list(modules))
        if self.settings != wanted or not self.lives():
            self.stop()
            self.settings = wanted
            self.start()

    def start(self) -> None:
        assert self.settings is not None
        environment, modules = self.settings
        self.forget_waiting()
        self.ready = False
        with suppress(FileNotFoundError):
            self.fifo.unlink()
        os.mkfifo(self.fifo)
        self.waiting = os.open(self.fifo, os.O_RDONLY | os.O_NONBLOCK)
        self.selector.register(self.waiting, selectors.EVENT_READ, self.take_readiness)
        settings = json.dumps({"agent": os.getpid(), "modules": modules, "ready": str(self.fifo)})
        # For good, not for the moment: multiprocessing restarts a dead server by itself, and then in this environment too.
        os.environ.clear()
        os.environ.update(environment)
        os.environ[SETTINGS] = settings
        with output_to(self.log):
            forkserver.ensure_running()

    def lives(self) -> bool:
        """Without reaping it: multiprocessing wants to do that."""
        if self.pid is None:
            return False
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        except ChildProcessError:  # buried by a sweep on the way out
            return False

    def take_readiness(self, descriptor: int) -> None:
        """Once `waiting` is readable: nothing in it where the server died on the way."""
        self.ready = os.read(descriptor, 1) != b""
        self.forget_waiting()

    def give_up(self) -> None:
        """It died; nothing is started until there is a new order to warm up."""
        self.settings = None
        self.forget_waiting()

    def forget_waiting(self) -> None:
        if self.waiting is not None:
            self.selector.unregister(self.waiting)
            os.close(self.waiting)
            self.waiting = None

    def stop(self) -> None:
        """Kills it, and with it its ranks and store; returns when it is dead."""
        self.give_up()
        self.ready = False
        if self.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)

    def note(self, text: str) -> None:
        with suppress(OSError), self.log.open("a") as log:
            log.write(f"launcher: {text}\n")

    def move_log(self, to: Path) -> None:
        """Appends what was written since the last time to another file."""
        if not self.log.exists() or self.log.stat().st_size == self.moved:
            return
        with self.log.open("rb") as log, to.open("ab") as target:
            log.seek(self.moved)
            target.write(log.read())
            self.moved = log.tell()

    def fork(self, target: Callable[..., Any], *args: Any) -> ForkServerProcess | None:
        """None where the server died of it; a server that was dead already is started anew by multiprocessing, and waited for."""
        process = self.context.Process(target=target, args=args)
        try:
            with output_to(self.log):
                process.start()
        except (OSError, EOFError) as error:
            self.note(f"the fork server ended while a process was starting: {error}")
            return None
        return process


@contextmanager
def output_to(path: Path) -> Iterator[None]:
    """What is started within writes to this file; a fork server's warnings belong into a log, not on the user's screen."""
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    before = os.dup(1), os.dup(2)
    for number in (1, 2):
        os.dup2(log, number)
    os.close(log)
    try:
        yield
    finally:
        for number, descriptor in zip((1, 2), before, strict=True):
            os.dup2(descriptor, number)
            os.close(descriptor)
