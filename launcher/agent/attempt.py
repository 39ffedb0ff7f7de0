"""The ranks of one attempt on this node, from `start` to `swept`."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from launcher.agent import entry, stacks
from launcher.agent.binding import own_shares
from launcher.agent.environment import Work, flight_recorder, rank_environment
from launcher.agent.forkserver import ForkServer
from launcher.protocol import Exited, OwnStart, Step
from launcher.rank import RANK, RESTARTS, Channel, channel_file
from launcher.topology import Share

FORK_SERVER_DIED = 255
STEP_EVERY_S = 0.5
KILL_LIMIT_S = 3.0
"""By then a healthy fork server has told of every killed rank's end."""
KILL_LIMIT_CUDA_S = 60.0
"""The same where a driver has memory to give back: a process that had page-locked 10 GB takes about a second longer to end."""


class Rank:
    """One forked rank: its process, its channel, and which signals we sent it."""

    def __init__(self, number: int, local_rank: int, channel: Channel) -> None:
        self.number = number
        self.local_rank = local_rank
        self.channel = channel
        self.process: ForkServerProcess | None = None
        self.sent: set[int] = set()
        self.ended = False

    @property
    def global_rank(self) -> int:
        """Under torchrun its choice, which the channel tells."""
        return self.channel.slots[RANK] - 1 if self.channel.slots[RANK] else self.number

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process is not None else None

    def signal(self, number: int) -> None:
        """To the rank alone; a rank that has ended is left alone (its number may belong to another process by now)."""
        if not self.ended and self.pid is not None and self.exit_code() is None:
            self.sent.add(number)
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def exit_code(self) -> int | None:
        """None while it lives. -N for signal N; 255 where the fork server died, be it before it could fork this rank."""
        return self.process.exitcode if self.process is not None else FORK_SERVER_DIED


class Attempt:
    def __init__(self, start: OwnStart, work: Work, folder: Path) -> None:
        self.start = start
        self.work = work
        self.number = start["attempt"]
        self.channels = folder / f"attempt-{self.number}"
        self.channels.mkdir(exist_ok=True)
        work.run.attempt(self.number).mkdir(parents=True, exist_ok=True)
        work.run.node_log(self.number, work.node).touch()
        self.ranks = [self.make_rank(local_rank) for local_rank in range(start["local_world_size"])]
        self.binding = work.binding or self.found_binding()
        self.recorder = flight_recorder(work.run.attempt(self.number), self.channels, work.environment) if work.cuda else {}
        self.told: tuple[int, int, int, bool] | None = None
        self.tell_at = 0.0
        self.deadlines: list[tuple[float, int]] = []
        """When which signal follows a stop, earliest first."""
        self.killed_at: float | None = None

    def found_binding(self) -> tuple[Share, ...] | None:
        if not self.work.bind:
            return None
        usable = self.work.cpus or os.sched_getaffinity(0)
        return own_shares(usable, self.start["local_world_size"], self.work.environment)

    def make_rank(self, local_rank: int) -> Rank:
        number = self.start["base_rank"] + local_rank
        self.error(number).unlink(missing_ok=True)
        return Rank(number, local_rank, Channel(channel_file(self.channels, local_rank), create=True))

    def error(self, rank: int) -> Path:
        return self.work.run.rank_error(self.number, rank)

    def launch(self, server: ForkServer) -> list[int]:
        """Returns descriptors that become readable when ranks end."""
        for rank in self.ranks:
            rank.process = server.fork(entry.fork_main, self.program(rank))
        return [rank.process.sentinel for rank in self.ranks if rank.process is not None]

    def program(self, rank: Rank) -> entry.Program:
        return entry.Program(
            kind=self.work.kind, target=self.work.target, argv=self.work.argv, cwd=self.work.cwd,
            log=str(self.work.run.rank_log(self.number, rank.number)), error=str(self.error(rank.number)),
            environment={**self.recorder, **rank_environment(self.start, rank.local_rank, self.channels)},
            cpus=self.binding[rank.local_rank] if self.binding else None,
        )  # fmt: skip

    @property
    def living(self) -> list[Rank]:
        return [rank for rank in self.ranks if not rank.ended]

    @property
    def pids(self) -> list[int]:
        return [rank.pid for rank in self.ranks if rank.pid is not None]

    def exits(self, agent: int) -> list[Exited]:
        """Ranks that have ended since the last time."""
        ended = [(rank, code) for rank in self.living if (code := rank.exit_code()) is not None]
        for rank, _ in ended:
            rank.ended = True
        return [self.exited(agent, rank, code) for rank, code in ended]

    def exited(self, agent: int, rank: Rank, code: int) -> Exited:
        return {
            "kind": "exited", "agent": agent, "attempt": self.number, "rank": rank.number, "local_rank": rank.local_rank,
            "code": code, "step": rank.channel.step, "pulses": rank.channel.pulses, "killed": -code in rank.sent,
            "error": self.error(rank.number).exists(),
        }  # fmt: skip

    def due(self) -> float:
        """When there is next something to do unasked (time.monotonic)."""
        return min([self.tell_at, *(at for at, _ in self.deadlines[:1])])

    def progress(self, agent: int, now: float) -> Step | None:
        """Step of the slowest rank, pulses of all, their output before the first pulse, and whether one asks should_stop().

        Only where it is time to tell, and they have changed.
        """
        if now < self.tell_at:
            return None
        self.tell_at = now + STEP_EVERY_S
        step, asks = self.step, self.asks
        pulses = sum(rank.channel.pulses for rank in self.ranks)
        current = step, pulses, 0 if pulses else self.output_bytes(), asks
        if current in (self.told, (-1, 0, 0, False)):
            return None
        self.told = current
        told: Step = {"kind": "step", "agent": agent, "attempt": self.number, "step": step, "pulses": pulses}
        if not pulses:
            told["bytes"] = current[2]
        if asks:
            told["asks"] = True
        return told

    @property
    def step(self) -> int:
        """Of the slowest rank, -1 before the first. Of a script, of those that tell one: often it is rank 0 alone that does."""
        steps = [rank.channel.step for rank in self.ranks]
        told = [step for step in steps if step is not None]
        all_tell = len(told) == len(steps)
        return min(told) if told and (all_tell or self.work.kind != "worker") else -1

    @property
    def asks(self) -> bool:
        """Whether a rank of a script asks should_stop(). Of the built-in worker all do, and none is ever sent SIGTERM."""
        return self.work.kind != "worker" and any(rank.channel.polled for rank in self.living)

    def output_bytes(self) -> int:
        """What its ranks have printed: until they pulse it is all that shows that they do something."""
        logs = (self.work.run.rank_log(self.number + rank.channel.slots[RESTARTS], rank.global_rank) for rank in self.ranks)
        return sum(map(stacks.length, logs))

    def ask_to_stop(self, now: float, *, follow: bool = False) -> None:
        """Ranks that ask should_stop() are left to save, and so are the others where one asks: it tells them at which step.

        Where none does (nor on another node: `follow`), SIGTERM is the only way to tell.
        """
        for rank in self.living:
            rank.channel.ask_to_stop()
        if self.work.kind == "worker" or self.deadlines:
            return
        if not (self.asks or follow):
            for rank in self.living:
                rank.signal(signal.SIGTERM)
        grace = self.work.stop_grace_s
        self.deadlines = [(now + grace, signal.SIGTERM), (now + 2 * grace, signal.SIGKILL)]

    def escalate(self, now: float) -> None:
        while self.deadlines and self.deadlines[0][0] <= now:
            _, number = self.deadlines.pop(0)
            for rank in self.living:
                # Who was told by SIGTERM at once has had its grace when the others are told.
                rank.signal(signal.SIGKILL if signal.SIGTERM in rank.sent else number)

    def kill(self, now: float) -> None:
        for rank in self.living:
            rank.signal(signal.SIGKILL)
        self.killed_at = self.killed_at or now

    def overdue(self, now: float) -> bool:
        """Killed long ago, and still there for all that the fork server tells."""
        return self.killed_at is not None and bool(self.living) and now - self.killed_at > self.kill_limit_s

    @property
    def kill_limit_s(self) -> float:
        return KILL_LIMIT_CUDA_S if self.work.cuda else KILL_LIMIT_S
