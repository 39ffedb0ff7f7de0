"""The other engine: stock torchrun in the place where the agent would fork ranks itself.

The rendezvous is a store of our own (its port is taken before it is told, so no other job can meet us there) under an id of our
own. Restarts are torchrun's; the agent learns of its ranks from their channels, and of their ends when torchrun has ended.

    agent ── fork server ── torchrun ── ranks (elastic.py)
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from multiprocessing.context import ForkServerProcess
from typing import NoReturn

from launcher.agent import preload
from launcher.agent.attempt import FORK_SERVER_DIED, Attempt, Rank
from launcher.agent.elastic import Share
from launcher.agent.ending import finish, outcome
from launcher.agent.entry import append_output_to, become_main_process
from launcher.agent.forkserver import ForkServer
from launcher.agent.orphans import die_with_parent
from launcher.errors import BackendError
from launcher.protocol import Exited
from launcher.rank import CODE, PID, RANK, RESTARTS, Channel
from launcher.rundir import write_json

FAILED = re.compile(r"failed \(exitcode: (-?\d+)\) local_rank: \d+ \(pid: (\d+)\)")
"""torchrun's own words for a rank that cannot tell its code itself: one that a signal ended, or a program in the rank's place."""
NOT_STARTED = 1


class TorchrunRank(Rank):
    """A rank as its channel tells of it."""

    def __init__(self, number: int, local_rank: int, channel: Channel, attempt: TorchrunAttempt) -> None:
        super().__init__(number, local_rank, channel)
        self.attempt = attempt

    @property
    def pid(self) -> int | None:
        return None if self.channel.slots[CODE] else self.channel.slots[PID] or None

    @property
    def started(self) -> bool:
        return bool(self.channel.slots[RANK])

    def exit_code(self) -> int | None:
        """Known once torchrun has ended: what the rank wrote, else the signal that torchrun told of."""
        if self.attempt.torchrun is None:
            return FORK_SERVER_DIED
        if self.attempt.torchrun.exitcode is None:
            return None
        if self.channel.slots[CODE]:
            return self.channel.slots[CODE] - 1
        if self.attempt.torchrun.exitcode < 0 and not self.sent:
            return self.attempt.torchrun.exitcode  # torchrun itself was killed, and the kernel ended its ranks with it
        if not self.started and not self.sent:
            return NOT_STARTED
        return self.untold()

    def untold(self) -> int:
        if signal.SIGKILL in self.sent:
            return -signal.SIGKILL
        if self.attempt.torchrun is not None and self.attempt.torchrun.exitcode == 0:
            return 0
        code = self.attempt.told_by_torchrun().get(self.channel.slots[PID])
        if code is None:  # torchrun ended it because of another rank
            self.sent.add(signal.SIGTERM)
            return -signal.SIGTERM
        return code


class TorchrunAttempt(Attempt):
    torchrun: ForkServerProcess | None = None

    def make_rank(self, local_rank: int) -> Rank:
        rank = super().make_rank(local_rank)
        return TorchrunRank(rank.number, local_rank, rank.channel, self)

    def launch(self, server: ForkServer) -> list[int]:
        share = Share(
            run_dir=str(self.work.run.path), attempt=self.number, channels=str(self.channels), kind=self.work.kind,
            target=self.work.target, argv=self.work.argv, cwd=self.work.cwd, binding=self.binding, environment=self.recorder,
        )  # fmt: skip
        (self.channels / "share.json").write_text(json.dumps(asdict(share)))
        log = self.work.run.node_log(self.number, self.work.node)
        self.torchrun = server.fork(torchrun_main, self.command(), str(log))
        return [] if self.torchrun is None else [self.torchrun.sentinel]

    def command(self) -> tuple[str, ...]:
        """What follows `torchrun`."""
        start = self.start
        host, port = start["store_host"], start["store_port"]
        return (
            f"--nnodes={start['nodes']}", f"--nproc-per-node={start['local_world_size']}",
            f"--max-restarts={start['max_restarts']}", "--rdzv-backend=c10d", f"--rdzv-endpoint={host}:{port}",
            f"--rdzv-id={self.work.run.id}-{self.number}", "--rdzv-conf=is_host=0", f"--local-addr={own_address(host, port)}",
            f"--log-dir={self.channels}",  # otherwise a folder in the usual place, which nobody removes where torchrun is killed
            "--no-python", sys.executable, "-P", "-m", "launcher.agent.elastic", str(self.channels / "share.json"),
        )  # fmt: skip

    def exited(self, agent: int, rank: Rank, code: int) -> Exited:
        """Which ranks a node has is torchrun's choice: the channel says it."""
        slots = rank.channel.slots
        log_attempt = self.number + slots[RESTARTS]
        if slots[RANK]:
            rank.number = slots[RANK] - 1
        error = self.work.run.rank_error(log_attempt, rank.number)
        if code == NOT_STARTED and not slots[RANK]:
            log = self.work.run.node_log(self.number, self.work.node)
            write_json(error, {"kind": "exit", "message": f"torchrun ended before it started this rank: see {log}"})
        return {**super().exited(agent, rank, code), "log_attempt": log_attempt, "error": error.exists()}

    def told_by_torchrun(self) -> dict[int, int]:
        """Process -> its exit code, -N for signal N, as torchrun's log tells of those that failed."""
        log = self.work.run.node_log(self.number, self.work.node)
        with suppress(OSError):
            return {int(pid): int(code) for code, pid in FAILED.findall(log.read_text(errors="replace"))}
        return {}

    def kill(self, now: float) -> None:
        if self.torchrun is not None and self.torchrun.exitcode is None:
            self.torchrun.kill()  # before its ranks, or it would restart them; the kernel ends those with it
        for rank in self.living:
            rank.sent.add(signal.SIGKILL)
        self.killed_at = self.killed_at or now


def own_address(host: str, port: int) -> str:
    """This machine's address as `host` sees it. Nothing is sent. Raises BackendError where there is no way to `host`."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(address)
            return str(probe.getsockname()[0])
    except OSError as error:
        raise BackendError(
            f"this node cannot reach the first node, {host}: {error.strerror}. Check its name and the network"
        ) from None


def torchrun_main(arguments: Sequence[str], log: str) -> NoReturn:
    """In a child of the fork server, where torchrun is imported already."""
    die_with_parent(preload.server)
    os.setsid()
    become_main_process()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, preload.NOT_FOR_THE_SERVER)
    append_output_to(log)
    # Otherwise its ranks share one store for all restarts, and read there the addresses of those that died (torch 2.14).
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    finish(outcome(None, lambda: run_torchrun(arguments)))


def run_torchrun(arguments: Sequence[str]) -> None:
    from torch.distributed.run import main

    sys.argv = ["torchrun", *arguments]
    main()
