"""What can happen to a run while it runs: each a function of the scene and of dice, told of in words."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import psutil

from launcher.events import ledger
from launcher.rundir import RunDir
from tests.faults.conftest import until
from tests.faults.processes import kill_all, marked, victim
from tests.patience import PATIENCE_S

GARBAGE = (b"\xff\xfe\x00garbage", b"\n17\n", b'{"event": ', bytes(100), b"\n[]\n{}\n")
FREE_TO_SPOIL = ("events.jsonl", "timings.jsonl", "metrics.jsonl", "failure.json", "provenance.json", "plan.json", ".supervisor")
"""What a run can do without, or makes again."""
FINAL = ("done", "failed", "stopped", "cancelled")
APPENDED = (".jsonl",)
WAKES_UP = ("supervisor", "rank", "below a rank", "store", "fork server")
"""Frozen for good they hold up a training, as they should: somebody may be looking at them with a debugger."""


class Scene(Protocol):
    mark: str
    home: Path
    """The run directory."""
    folder: Path

    def launch(self, *argv: str) -> subprocess.Popen[bytes]: ...


def signalled(scene: Scene, dice: random.Random, number: signal.Signals) -> str:
    chosen = victim(scene.mark, dice)
    if chosen is None:
        return "nobody there"
    name, process = chosen
    with suppress(psutil.NoSuchProcess):
        process.send_signal(number)
    if number != signal.SIGSTOP or name not in WAKES_UP:
        return f"{number.name} to {name}"
    frozen_s = dice.choice((0.3, 2.0, 9.0))
    time.sleep(frozen_s)
    with suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGCONT)
    return f"{name} frozen for {frozen_s} s"


def killed(scene: Scene, dice: random.Random) -> str:
    return signalled(scene, dice, signal.SIGKILL)


def terminated(scene: Scene, dice: random.Random) -> str:
    return signalled(scene, dice, signal.SIGTERM)


def frozen(scene: Scene, dice: random.Random) -> str:
    return signalled(scene, dice, signal.SIGSTOP)


def all_killed(scene: Scene, _dice: random.Random) -> str:
    kill_all(scene.mark)
    return "everything killed"


def damaged_checkpoint(scene: Scene, dice: random.Random) -> str:
    """The newest, as a bad disk would."""
    until(lambda: list(scene.home.glob("checkpoints/step-*")))
    kill_all(scene.mark)
    standing = sorted(scene.home.glob("checkpoints/step-*"))
    file = dice.choice(sorted(standing[-1].iterdir()))
    content = bytearray(file.read_bytes())
    if dice.random() < 0.5:
        content = content[: dice.randrange(len(content))]
    else:
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    file.write_bytes(content)
    return f"{standing[-1].name}/{file.name} damaged"


def logs_deleted(scene: Scene, dice: random.Random) -> str:
    shutil.rmtree(scene.home / "logs", ignore_errors=True)
    return f"logs deleted, {signalled(scene, dice, signal.SIGKILL)}"


def lock_deleted(scene: Scene, _dice: random.Random) -> str:
    """Whoever then wants to resume a live run must still be refused."""
    (scene.home / ".supervisor").unlink(missing_ok=True)
    time.sleep(2.0)
    scene.launch("resume", str(scene.home)).wait(PATIENCE_S)
    told = [entry["event"] for entry in ledger(RunDir(scene.home)) if entry["event"] in ("supervising", *FINAL)]
    assert ("supervising", "supervising") not in pairwise(told), f"two supervisors at once: {told}"
    return "lock deleted"


def spoiled(scene: Scene, dice: random.Random) -> str:
    kill_all(scene.mark)
    file, garbage = scene.home / dice.choice(FREE_TO_SPOIL), dice.choice(GARBAGE)
    with file.open("ab" if file.suffix in APPENDED else "wb") as spoilt:
        spoilt.write(garbage)
    return f"{garbage[:12]!r} in {file.name}"


def clock_jumped(scene: Scene, dice: random.Random) -> str:
    then = dice.choice((0, 4_000_000_000))
    for place, folders, files in os.walk(scene.home):  # rglob raises where a folder vanishes meanwhile
        for path in (Path(place), *(Path(place, name) for name in (*folders, *files))):
            with suppress(FileNotFoundError):
                os.utime(path, (then, then))
    return f"files of {then}, {signalled(scene, dice, signal.SIGKILL)}"


def strangers(scene: Scene, dice: random.Random) -> str:
    """Some that talk nonsense and some that say nothing, on every port of the run."""
    ports = set()
    for process in marked(scene.mark):
        with suppress(psutil.Error):
            ports |= {each.laddr.port for each in process.net_connections("tcp") if each.status == psutil.CONN_LISTEN}
    calls = []
    for port in ports:
        for number in range(20):
            with suppress(OSError):
                calls.append(socket.create_connection(("127.0.0.1", port), timeout=1))
                if number % 2:
                    calls[-1].sendall(dice.randbytes(4096))
    time.sleep(2.0)
    for call in calls:
        call.close()
    return f"strangers on {len(ports)} ports"


def disk_full(scene: Scene, dice: random.Random) -> str:
    """For a while."""
    full_s = dice.choice((1.0, 4.0, 10.0))
    filler = scene.home.parent / ".filler"
    with suppress(OSError), filler.open("wb") as file:
        while file.write(bytes(1 << 16)):
            file.flush()
    time.sleep(full_s)
    filler.unlink()
    return f"disk full for {full_s} s"


def moved(scene: Scene, _dice: random.Random) -> str:
    kill_all(scene.mark)
    elsewhere = scene.folder / "else where"
    elsewhere.mkdir()
    scene.home = scene.home.rename(elsewhere / scene.home.name)
    return "moved"


FAULTS: tuple[Callable[[Scene, random.Random], str], ...] = (
    killed, terminated, frozen, all_killed, damaged_checkpoint, logs_deleted, lock_deleted, spoiled, clock_jumped, strangers,
    disk_full, moved,
)  # fmt: skip
