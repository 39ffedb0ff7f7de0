"""The processes of a run, told by a mark in their environment, and which of them is which."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil

from tests.patience import PATIENCE_S

ROLES = ("supervisor", "wrapper", "agent", "fork server", "tracker", "store", "rank", "below a rank")
LEFT_WITHIN_S = 60.0
"""What is still there then is left behind: 5 s are promised, which a busy machine does not keep."""


def marked(mark: str) -> list[psutil.Process]:
    """All that live with `mark` in their environment, wherever they hang."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, psutil.NoSuchProcess):
                if mark.encode() in (entry / "environ").read_bytes():
                    process = psutil.Process(int(entry.name))
                    found += [process] if process.status() != psutil.STATUS_ZOMBIE else []
    return found


def role(process: psutil.Process) -> str:
    command = " ".join(process.cmdline())
    parent = process.parent()
    above = " ".join(parent.cmdline()) if parent is not None else ""
    if "launcher.agent " in command:
        return "agent" if "launcher.agent " in above else "wrapper"
    if "resource_tracker" in command:
        return "tracker"
    if "forkserver" in command:
        if "launcher.agent " in above:
            return "fork server"
        if parent is None or role(parent) != "fork server":
            return "below a rank"
        return "rank" if os.getsid(process.pid) == process.pid else "store"
    return "supervisor" if "/launch" in command else "below a rank"


def roles(mark: str) -> list[tuple[str, psutil.Process]]:
    found = []
    for process in marked(mark):
        with suppress(psutil.NoSuchProcess, OSError):
            found.append((role(process), process))
    return found


def victim(mark: str, dice: random.Random) -> tuple[str, psutil.Process] | None:
    """First a role, then one that plays it: a rank is not likelier than the store because there are four of them."""
    everyone = roles(mark)
    if not everyone:
        return None
    chosen = dice.choice(sorted({name for name, _ in everyone}))
    return dice.choice([each for each in everyone if each[0] == chosen])


def kill_all(mark: str) -> None:
    """Until nothing is left: what is killed late may start something meanwhile."""
    until = time.monotonic() + PATIENCE_S
    while (left := marked(mark)) and time.monotonic() < until:
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        time.sleep(0.01)


def left(mark: str, within_s: float = LEFT_WITHIN_S) -> list[str]:
    until = time.monotonic() + within_s
    while (found := roles(mark)) and time.monotonic() < until:
        time.sleep(0.05)
    return [f"{name} {process.pid} {process.status()}" for name, process in found if process.is_running()]
