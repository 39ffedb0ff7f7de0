"""No process of a run outlives its agent: whose end kills whom, and who sweeps up the rest."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PROC = Path("/proc")
LOOK_AGAIN_S = 0.005


def prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), 0, 0, 0)


def die_with_parent(parent: int) -> None:
    """The kernel kills this process when `parent` ends. A fork clears it, so each process asks for itself."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before we asked
        os._exit(1)


def adopt_descendants() -> None:
    """Descendants whose parent ends become this process's children, not init's."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)


def children() -> set[int]:
    """Own children by pid, dead ones not yet reaped included."""
    tasks = list((PROC / "self" / "task").iterdir())
    try:
        return {int(pid) for task in tasks for pid in (task / "children").read_text().split()}
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        own = str(os.getpid())
        return {pid for pid, parent in parents() if parent == own}


def parents() -> Iterator[tuple[int, str]]:
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # it ended meanwhile
                # The name in parentheses may hold anything, parentheses too.
                yield int(entry.name), (entry / "stat").read_text().rpartition(")")[2].split()[1]


def sweep(keep: Collection[int] = ()) -> bool:
    """Kills and reaps every child but `keep`. False while some are left: the children of the dead come to us only now."""
    left = children() - set(keep)
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    return not left


def reap(keep: Collection[int] = ()) -> None:
    """Buries adopted children that have ended by themselves; whoever started one in `keep` wants its status."""
    with suppress(ChildProcessError):
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            if ended.si_pid in keep:
                return
            os.waitpid(ended.si_pid, 0)


def sweep_all(limit_s: float) -> None:
    """Until nothing is left, or `limit_s` for what the kernel does not let go (a process stuck in a file system)."""
    until = time.monotonic() + limit_s
    while not sweep() and time.monotonic() < until:
        time.sleep(LOOK_AGAIN_S)
