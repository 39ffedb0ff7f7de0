"""The agent: orders from the supervisor in, news of this node's ranks out. It decides nothing.

One thread does the work (stream.py's second one only listens), because a fork server dies with the thread that started it.
"""

from __future__ import annotations

import base64
import json
import os
import selectors
import shutil
import signal
import socket
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, cast

from launcher.agent.attempt import FORK_SERVER_DIED, Attempt
from launcher.agent.environment import Unshared, Work, read_work
from launcher.agent.facts import gather
from launcher.agent.forkserver import ForkServer
from launcher.agent.orphans import adopt_descendants, reap, sweep
from launcher.agent.stacks import Request
from launcher.agent.store import Store
from launcher.agent.stream import Stream
from launcher.agent.torchrun import TorchrunAttempt
from launcher.errors import BackendError
from launcher.protocol import OwnStart, Start, What, own_part
from launcher.rundir import clear_asides

SWEEP_AGAIN_S = 0.005
READ_BYTES = 1 << 16
TROUBLE_BYTES = 700
MOST_PIDS = 64
"""In one message."""
ENGINES: dict[str, type[Attempt]] = {"launcher": Attempt, "torchrun": TorchrunAttempt}


def drain(descriptor: int) -> None:
    with suppress(BlockingIOError):
        os.read(descriptor, READ_BYTES)


def bind(cpus: Sequence[int]) -> None:
    try:
        os.sched_setaffinity(0, cpus)
    except OSError:
        raise BackendError(f"cannot bind to cores {', '.join(map(str, cpus))}: this process may not use them all") from None


SERVER_ENDS_S = 0.01


class Agent:
    def __init__(self, number: int, stream: Stream, folder: str) -> None:
        self.number = number
        self.stream = stream
        self.folder = Path(folder)
        self.own = dict(os.environ)
        self.handed: dict[str, bytes] = {}
        """Values that the supervisor sent, for references to the environment."""
        self.cpus = tuple(os.sched_getaffinity(0))
        self.selector = selectors.DefaultSelector()
        self.server = ForkServer(self.folder, self.selector)
        self.work: Work | None = None
        self.ordered: OwnStart | None = None
        """A start that waits for the fork server, or for the end of an older attempt."""
        self.last: tuple[str, int] | None = None
        """Run directory and number of the newest attempt that was ordered, of the run that it serves."""
        self.gone: tuple[Work | None, int] | None = None
        """The attempt of which was told last that nothing is left."""
        self.stop_when_started: bool | None = None
        """Asked to stop before it started, and whether a rank of another node asks should_stop(). Not simply dropped: ranks on
        other nodes would wait for its ranks."""
        self.attempt: Attempt | None = None
        self.sentinels: list[int] = []
        """Readable once a rank has ended."""
        self.sweeping: Attempt | None = None
        """Its ranks have ended, what they started perhaps not."""
        self.request: Request | None = None
        """For its ranks' stacks."""
        self.store = Store(self.selector)
        self.died_under: int | None = None
        """The newest attempt whose fork server died."""

    def run(self) -> NoReturn:
        try:
            self.greet()
            while True:
                self.wait()
                while not self.stream.received.empty():
                    self.obey(self.stream.received.get())
                self.advance()
        except BaseException as bug:
            traceback.print_exc()
            self.trouble(f"the agent failed: {type(bug).__name__}: {bug}", what="agent")
            self.stream.end(1)

    def greet(self) -> None:
        adopt_descendants()
        self.watch_children()
        self.stream.listen(str(self.folder))
        self.selector.register(self.stream.wake, selectors.EVENT_READ, drain)
        self.stream.send({"kind": "hello", "agent": self.number, "host": socket.gethostname(), "pid": os.getpid(),
                          "cpus": len(self.cpus)})  # fmt: skip

    def watch_children(self) -> None:
        """A child's end wakes the loop: that of the fork server above all."""
        woken, wakes = os.pipe()
        for end in (woken, wakes):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        self.selector.register(woken, selectors.EVENT_READ, drain)

    def wait(self) -> None:
        for key, _ in self.selector.select(self.patience()):
            key.data(key.fd)

    def patience(self) -> float | None:
        """Seconds until there is something to do unasked."""
        if self.sweeping is not None:
            return SWEEP_AGAIN_S
        due = [self.attempt.due()] if self.attempt is not None else []
        due += [self.request.look_at] if self.request is not None else []
        return max(0.0, min(due) - time.monotonic()) if due else None

    # Orders

    def obey(self, order: dict[str, Any]) -> None:
        try:
            match order["kind"]:
                case "environment":
                    self.take(order["name"], base64.b64decode(order["part"]), first=order["first"])
                case "warm":
                    self.prepare(order["run_dir"], order.get("first", 0), order.get("mark"))
                    self.tell_facts(with_code=order.get("code", False))
                case "store":
                    self.open_store(order["attempt"], order["host"])
                case "start":
                    self.order(own_part(cast(Start, order), self.number))
                case "stop":
                    self.stop(order["attempt"], follow=order.get("follow", False))
                case "kill":
                    self.kill(order["attempt"])
                case "stacks":
                    self.ask_for_stacks(order["attempt"], order["number"], whole=order["whole"])
                case "bye":
                    self.stream.end()
        except (BackendError, OSError) as error:
            what: What = "unshared" if isinstance(error, Unshared) else "environment"
            self.trouble(str(error), attempt=order.get("attempt"), what=what)

    def take(self, name: str, part: bytes, *, first: bool) -> None:
        self.handed[name] = part if first else self.handed.get(name, b"") + part

    def prepare(self, run_dir: str, first: int, mark: str | None = None) -> None:
        """`first`: number of the agent that is the plan's node 0."""
        if self.work is not None and self.work.run.path != Path(run_dir):  # a sweep's next trial counts from 1 again
            self.last = None
        handed = {name: os.fsdecode(value) for name, value in self.handed.items()}
        self.work = read_work(run_dir, self.number - first, self.own, mark=mark, handed=handed)
        bind(self.work.cpus or self.cpus)
        self.server.warm(self.work.environment, self.work.preload)

    def tell_facts(self, *, with_code: bool) -> None:
        """Beside the start: reading the code takes a while on a cold file system."""
        assert self.work is not None
        work, cpus = self.work, len(self.cpus)

        def tell() -> None:
            self.stream.send(gather(self.number, work.run, work.cwd if with_code else None, work.environment, cpus))

        threading.Thread(target=tell, name="facts", daemon=True).start()

    def ask_for_stacks(self, attempt: int, number: int, *, whole: bool) -> None:
        """Ranks that are not there are no ranks to ask: the answer says so by their missing files."""
        assert self.work is not None
        self.request = Request(self.work.run, attempt, number, whole)
        if self.attempt is not None and self.attempt.number == attempt:
            self.request.ask(self.attempt.living, self.attempt.channels)

    def open_store(self, attempt: int, host: str) -> None:
        port = self.store.open(attempt, host)
        self.stream.send({"kind": "store", "agent": self.number, "attempt": attempt, "host": host, "port": port})

    def order(self, start: OwnStart) -> None:
        """Dropped where it is late: an attempt that is not newer than the last one of its run."""
        run_dir, attempt = start["run_dir"], start["attempt"]
        if self.last is not None and self.last[0] == run_dir and attempt <= self.last[1]:
            return
        if self.work is None or self.work.run.path != Path(run_dir):
            self.prepare(run_dir, start.get("first", 0))
        else:
            self.server.warm(self.work.environment, self.work.preload)
        self.last = run_dir, attempt
        self.ordered = start
        self.stop_when_started = None
        if self.attempt is not None:
            self.attempt.kill(time.monotonic())

    def stop(self, attempt: int, *, follow: bool) -> None:
        if self.attempt is not None and self.attempt.number == attempt:
            self.attempt.ask_to_stop(time.monotonic(), follow=follow)
        elif self.ordered is not None and self.ordered["attempt"] == attempt:
            self.stop_when_started = follow

    def kill(self, attempt: int) -> None:
        if self.store.attempt == attempt:
            self.store.close()
        if self.attempt is not None and self.attempt.number == attempt:
            self.attempt.kill(time.monotonic())
        elif self.ordered is not None and self.ordered["attempt"] == attempt:
            self.ordered = None
            self.swept(self.work, attempt)
        elif self.sweeping is None and self.gone != (self.work, attempt) and (self.last is None or attempt >= self.last[1]):
            self.swept(self.work, attempt)

    # What follows by itself

    def advance(self) -> None:
        self.look_after_server()
        reap(keep=self.server.processes)
        if self.attempt is not None:
            self.follow(self.attempt)
        if self.request is not None and self.request.complete(time.monotonic()):
            self.answer(self.request)
        if self.sweeping is not None and sweep(keep=self.server.processes):
            shutil.rmtree(self.sweeping.channels, ignore_errors=True)
            clear_asides(self.sweeping.work.run)
            over, self.sweeping = self.sweeping, None
            self.swept(over.work, over.number)
        if self.store.died() and self.server.lives():
            self.store_failed("died")
        if self.server.ready:
            if not self.store.serve(self.server):
                self.store_failed("could not be started")
            if self.ordered is not None and self.attempt is None and self.sweeping is None:
                self.launch(self.ordered)

    def store_failed(self, how: str) -> None:
        self.store.close()
        self.trouble(
            f"the rendezvous store of this node {how}: see the end of the node's log", attempt=self.store.attempt, what="agent"
        )

    def answer(self, request: Request) -> None:
        self.request = None
        try:
            request.keep()
        except OSError as error:  # a full disk is no reason to end
            self.server.note(f"the stacks of the ranks could not be kept: {error}")
        self.stream.send({"kind": "stacks", "agent": self.number, "attempt": request.attempt, "number": request.number})

    def look_after_server(self) -> None:
        """A new fork server where it has died, at once: the next attempt will want it."""
        if self.stream.ending or self.server.settings is None or self.server.lives():
            return
        if not self.server.ready:
            self.server.give_up()
            self.ordered = None
            self.trouble("the fork server died while it imported what the job uses: see the end of the node's log", what="agent")
            return
        self.died_under = self.attempt.number if self.attempt is not None else None
        self.server.start()

    def launch(self, start: OwnStart) -> None:
        assert self.work is not None
        self.ordered, number = None, start["attempt"]
        try:
            attempt = ENGINES[self.work.engine](start, self.work, self.folder)
            self.publish_log(number)
            self.sentinels = attempt.launch(self.server)
        except (BackendError, OSError) as error:
            self.trouble(str(error), attempt=number)
            return
        self.attempt = attempt
        for sentinel in self.sentinels:
            self.selector.register(sentinel, selectors.EVENT_READ, self.rank_ended)
        self.stream.send({"kind": "started", "agent": self.number, "attempt": number, "pids": attempt.pids[:MOST_PIDS]})
        if self.stop_when_started is not None:
            attempt.ask_to_stop(time.monotonic(), follow=self.stop_when_started)

    def rank_ended(self, sentinel: int) -> None:
        """Waking up is all: the attempt is looked at in every turn. It stays readable, and would wake us without end."""
        self.selector.unregister(sentinel)
        self.sentinels.remove(sentinel)

    def follow(self, attempt: Attempt) -> None:
        now = time.monotonic()
        for news in attempt.exits(self.number):
            if news["code"] == FORK_SERVER_DIED and not news.get("error") and self.server_died(attempt):
                news["server_died"] = True
            self.stream.send(news)
        attempt.escalate(now)
        if attempt.overdue(now):
            self.server.stop()  # frozen, perhaps: its end ends its ranks
        progress = attempt.progress(self.number, now)
        if progress is not None:
            self.stream.send(progress)
        if not attempt.living:
            self.leave(attempt)

    def leave(self, attempt: Attempt) -> None:
        """All of its ranks have ended: what they started ends next."""
        self.publish_log(attempt.number)
        for sentinel in self.sentinels:
            self.selector.unregister(sentinel)
        self.sentinels = []
        self.attempt, self.sweeping = None, attempt

    def server_died(self, attempt: Attempt) -> bool:
        """Whether a 255 is no code of the rank's own."""
        # The kernel closes a dying server's pipes a moment before it tells of its end.
        time.sleep(SERVER_ENDS_S)
        return self.died_under == attempt.number or not self.server.lives()

    def swept(self, work: Work | None, attempt: int) -> None:
        """Told once: a second word could be taken for the first attempt of a sweep's next trial."""
        self.gone = work, attempt
        self.stream.send({"kind": "swept", "agent": self.number, "attempt": attempt})

    def trouble(self, message: str, *, attempt: int | None = None, what: What = "environment") -> None:
        """Into the node's log whole, and to the supervisor as far as a message can hold it."""
        self.server.note(message)
        if attempt is None and self.last is not None:
            attempt = self.last[1]
        if attempt is not None:
            self.publish_log(attempt)
        short = message
        while len(json.dumps(short)) > TROUBLE_BYTES:
            short = short[: len(short) // 2]
        self.stream.send({"kind": "trouble", "agent": self.number, "attempt": attempt, "message": short, "what": what})

    def publish_log(self, attempt: int) -> None:
        """What the fork server wrote since the last time goes into the log of the attempt that it served."""
        if self.work is not None:
            with suppress(OSError):
                self.server.move_log(self.work.run.node_log(attempt, self.work.node))
