"""Whoever is killed, nothing of the old attempt is left; the long tests look whether that takes no more than five seconds."""

from __future__ import annotations

import os
import signal
import tempfile
import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.agent.conftest import Job
from tests.agent.pipes import TORCH, Supervisor
from tests.patience import PATIENCE_S

LIMIT_S = 5.0
STUCK = """
import ctypes, subprocess
import torch
from torch.utils.data import DataLoader, Dataset

class Numbers(Dataset):
    def __len__(self): return 1000
    def __getitem__(self, index): return torch.tensor(index)

if __name__ == "__main__":
    loader = iter(DataLoader(Numbers(), batch_size=2, num_workers=2))
    next(loader)
    subprocess.Popen(["sh", "-c", "sleep 300 & sleep 300"], start_new_session=True)
    print("stuck", flush=True)
    ctypes.PyDLL(None).sleep(300)  # in C, and with the interpreter's lock held
"""


def marked(mark: str) -> set[int]:
    """Living processes that have the mark in their environment."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if mark.encode() in (entry / "environ").read_bytes() and not dead(int(entry.name)):
                    found.add(int(entry.name))
    return found


def dead(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def gone(pids: Iterable[int], *, within_s: float = PATIENCE_S) -> bool:
    until = time.monotonic() + within_s
    left = list(pids)
    while left and time.monotonic() < until:
        time.sleep(0.01)
        left = [pid for pid in left if not dead(pid)]
    return not left


class Tree:
    """An attempt of two stuck ranks with loader workers and children of their own."""

    def __init__(self, job: Job, **entry: str) -> None:
        self.mark = f"MARK={uuid.uuid4().hex}"
        self.supervisor: Supervisor = job(STUCK, preload=TORCH, caller={"MARK": self.mark.partition("=")[2]}, **entry)
        self.supervisor.start(ranks=2, wait=False)
        self.wrapper, self.agent = self.supervisor.process.pid, self.supervisor.hear("hello")[0]["pid"]
        ranks = self.supervisor.hear("started")[0]["pids"]
        logs = [self.supervisor.run.rank_log(1, rank) for rank in (0, 1)]
        while not all(log.exists() and "stuck" in log.read_text() for log in logs):
            assert self.supervisor.read(0.05)
        self.rank = ranks[0] if ranks else 0
        self.all = marked(self.mark)
        children = {pid for pid in self.all if parent(pid) == self.agent}
        self.server = parent(self.rank) if self.rank else 0
        self.tracker = next(pid for pid in children if b"resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes())
        self.attempts = self.all - {self.wrapper, self.agent, self.server, self.tracker}


def test_nothing_is_left_without_supervisor(job: Job) -> None:
    tree = Tree(job)
    assert len(tree.attempts) >= 2 * 4  # two ranks, each with two workers and a child with one
    tree.supervisor.process.stdin.close()
    assert gone(tree.all)


@pytest.mark.parametrize("which", ["wrapper", "agent"])
def test_nothing_is_left_without(which: str, job: Job) -> None:
    tree = Tree(job)
    os.kill(getattr(tree, which), signal.SIGKILL)
    assert gone(tree.all)
    assert tree.supervisor.hear("gone")  # by whichever of the two is left


def test_silence_ends_everything(job: Job) -> None:
    tree = Tree(job)
    tree.supervisor.warm(silence_s=0.3)
    assert gone(tree.all, within_s=PATIENCE_S / 2)  # by what was said now, not by what `Supervisor` says at first


def test_sigquit_to_the_wrapper_ends_everything(job: Job) -> None:
    tree = Tree(job)
    os.kill(tree.wrapper, signal.SIGQUIT)
    assert gone(tree.all)


def test_a_queues_signals_end_nothing(job: Job) -> None:
    tree = Tree(job)
    for pid in (tree.wrapper, tree.agent, tree.server):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            os.kill(pid, number)
    tree.supervisor.send("ping")
    tree.supervisor.hear("pong")
    assert not any(dead(pid) for pid in tree.all)


@pytest.mark.parametrize("which", ["rank", "server"])
def test_nothing_old_is_left_after(which: str, job: Job) -> None:
    tree = Tree(job)
    os.kill(getattr(tree, which), signal.SIGKILL)
    tree.supervisor.hear("exited", count=1 if which == "rank" else 2)
    tree.supervisor.send("kill", attempt=1)
    tree.supervisor.hear("swept", attempt=1)
    assert gone(tree.attempts)
    assert not dead(tree.agent)


def test_the_resource_tracker_is_not_missed(job: Job) -> None:
    tree = Tree(job)
    os.kill(tree.tracker, signal.SIGKILL)
    tree.supervisor.send("ping")
    tree.supervisor.hear("pong")
    assert not any(dead(pid) for pid in tree.attempts)
    tree.supervisor.send("kill", attempt=1)
    tree.supervisor.codes(ranks=2)
    tree.supervisor.start(2)
    tree.supervisor.process.stdin.close()
    assert gone(marked(tree.mark))


def test_temporary_folders_are_removed_even_of_a_killed_agent(job: Job) -> None:
    folder = Path(tempfile.mkdtemp(dir="/tmp"))  # short: sockets lie below it
    supervisor = job(caller={"TMPDIR": str(folder)})
    supervisor.start()
    assert list(folder.glob("launcher-*"))
    os.kill(supervisor.hear("hello")[0]["pid"], signal.SIGKILL)
    supervisor.process.wait(PATIENCE_S)
    assert not list(folder.iterdir())
    folder.rmdir()


def test_a_killed_rank_leaves_no_folder_of_its_loaders(job: Job) -> None:
    script = """
import sys, time
from multiprocessing import util
open(util.get_temp_dir() + "/listener", "w").close()
print("made", flush=True)
time.sleep(60)
"""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        supervisor = job(script, caller={"TMPDIR": folder})
        supervisor.start()
        while not supervisor.run.rank_log(1, 0).exists() or "made" not in supervisor.log():
            assert supervisor.read(0.05)
        supervisor.send("kill", attempt=1)
        supervisor.hear("swept", attempt=1)
        assert not list(Path(folder).rglob("listener"))


def test_folders_of_the_dead_are_removed_by_the_next_agent_and_those_of_the_living_are_not(job: Job, tmp_path: Path) -> None:
    """The next one to look; that may still be the second, whose wrapper looks beside its agent's first word."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        killed, living = job(caller={"TMPDIR": folder}), job(caller={"TMPDIR": folder})
        pids = [killed.process.pid, killed.hear("hello")[0]["pid"]]
        living.hear("hello")
        for number in (signal.SIGSTOP, signal.SIGKILL):  # frozen first, so that neither outlives the other
            for pid in pids:
                os.kill(pid, number)
        killed.process.wait(PATIENCE_S)
        assert gone(pids)
        third = job(caller={"TMPDIR": folder})
        third.hear("hello")
        third.close()
        assert len(list(Path(folder).iterdir())) == 1
        living.start()
        assert living.codes() == [0]


@pytest.mark.parametrize("which", ["supervisor", "wrapper", "agent"])
@pytest.mark.long
def test_nothing_is_left_of_torchrun_without(which: str, job: Job) -> None:
    tree = Tree(job, engine="torchrun")
    if which == "supervisor":
        tree.supervisor.process.stdin.close()
    else:
        os.kill(getattr(tree, which), signal.SIGKILL)
    assert gone(tree.all, within_s=LIMIT_S)
