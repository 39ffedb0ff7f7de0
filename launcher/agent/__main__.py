"""`python -P -m launcher.agent --id N`: the wrapper. It forks the agent, outlives it, and sweeps up."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Literal, NoReturn

from launcher.agent import batch_host
from launcher.agent.node import Agent
from launcher.agent.orphans import adopt_descendants, sweep_all
from launcher.agent.stream import SILENCE, Stream
from launcher.protocol import encode

SWEEP_LIMIT_S = 20.0
PREFIX = "launcher-agent-"
LONGEST_FOLDER = 50
"""Bytes: a socket's address below it must fit the kernel's 108."""
DEAF_TO = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""What a queue or a terminal sends to every process of a step: the supervisor answers it, by orders."""


def main() -> NoReturn:
    agent_id = own_id(sys.argv[sys.argv.index("--id") + 1])
    orders, news = private_streams()
    folder = own_folder(short_folder())
    adopt_descendants()
    wrapper_alive, wrapper_end = os.pipe()
    for number in DEAF_TO:
        signal.signal(number, lambda *_: None)  # not SIG_IGN: ranks would inherit that
    agent = os.fork()
    if agent == 0:
        os.close(wrapper_end)
        Agent(agent_id, Stream(agent_id, orders, news, wrapper_alive), folder).run()
    for descriptor in (orders, wrapper_alive, 0, 1):
        os.close(descriptor)
    remove_abandoned(short_folder())
    outlive(agent, agent_id, news, folder)


def own_id(given: str) -> int:
    """Of several (`4,7`: srun starts them all with one command), that of this task."""
    ids = given.split(",")
    return int(ids[int(os.environ["SLURM_PROCID"])] if len(ids) > 1 else ids[0])


def private_streams() -> tuple[int, int]:
    """stdin and stdout under other numbers: whatever a library prints or reads must not touch the orders."""
    orders, news = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return orders, news


def short_folder() -> str:
    """The usual place for temporary files, unless sockets in it could not be named."""
    usual = tempfile.gettempdir()
    return usual if len(os.fsencode(usual)) <= LONGEST_FOLDER else "/tmp"  # noqa: S108  (a private folder is made in it)


def own_folder(place: str) -> str:
    """A new folder, held by wrapper and agent: once both are dead the next agent on this machine may remove it."""
    while True:
        folder = tempfile.mkdtemp(prefix=PREFIX, dir=place)
        with suppress(OSError):  # removed before it was held; or a file system without locks, where nobody removes it
            fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_SH)
        if os.path.isdir(folder):  # noqa: PTH112
            return folder


def remove_abandoned(place: str) -> None:
    """Folders of agents that were killed together with their wrappers."""
    for path in Path(place).glob(f"{PREFIX}*"):
        with suppress(OSError):  # held, another user's, or gone meanwhile
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path)
            finally:
                os.close(descriptor)


def outlive(agent: int, agent_id: int, news: int, folder: str) -> NoReturn:
    """Waits for the agent, ends what it left, and says so: srun keeps a stream open for the others. SIGQUIT ends it at once."""

    def end_agent(*_: object) -> None:
        with suppress(ProcessLookupError):
            os.kill(agent, signal.SIGKILL)

    def say(kind: Literal["gone", "signalled"]) -> None:
        with suppress(OSError):
            os.write(news, encode({"kind": kind, "agent": agent_id}))

    signal.signal(signal.SIGQUIT, end_agent)
    signal.signal(signal.SIGTERM, lambda *_: say("signalled"))  # of a step only its tasks are told that they are preempted
    _, status = os.waitpid(agent, 0)
    sweep_all(SWEEP_LIMIT_S)
    shutil.rmtree(folder, ignore_errors=True)
    say("gone")
    code = os.waitstatus_to_exitcode(status)
    if code == SILENCE and "SLURM_JOB_ID" in os.environ:
        batch_host.watch(os.environ["SLURM_JOB_ID"])
    os._exit(0 if code == 0 else 1)


if __name__ == "__main__":
    main()
