"""What can happen to a training on a cluster: each a function of the scene and of dice, told of in words."""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from launcher.rundir import RunDir
from tests.faults.processes import role
from tests.slurm.cluster import Cluster
from tests.slurm.counting import Counting, events

OURS = ("launcher", "forkserver", "resource_tracker", "srun")
FROZEN_S = (0.5, 3.0, 9.0, 20.0)
ITEMS = """\
import ctypes, os, time
from contextlib import suppress
from pathlib import Path
import torch, torch.distributed as dist

def in_python():
    time.sleep(10000)

def in_c():
    lock, c = ctypes.create_string_buffer(64), ctypes.PyDLL(None)
    c.pthread_mutex_lock(lock)
    c.pthread_mutex_lock(lock)

def in_a_collective():
    dist.recv(torch.zeros(1), src=1 - dist.get_rank(), tag=99)

class Items:
    def __len__(self):
        return 1024

    def __getitem__(self, index):
        time.sleep(0.0015)
        for hang in (in_python, in_c, in_a_collective):
            with suppress(FileNotFoundError):
                (Path(os.environ["LAUNCHER_RUN_DIR"]) / f"hang-{hang.__name__.replace('_', '-')}").unlink()
                hang()
        return torch.sin(torch.arange(16.0) * (index + 1)), index % 4
"""
"""A data set in which the rank that first finds a certain file hangs."""


class Scene(Counting):
    """A run on a cluster whose runs/ is a small file system of its own."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        super().__init__(cluster, folder)
        (folder / "items.py").write_text(ITEMS)
        self.environment["TMPDIR"] = str(folder)
        self.run = RunDir(folder)
        """Set once there is one."""
        self.by_hand = False
        """Whether what happened may end the run, to be continued with launch resume."""

    def roles(self) -> list[tuple[str, psutil.Process]]:
        """Of everything of ours on the nodes."""
        found = []
        for node in self.cluster.nodes.values():
            for pid in node.processes() if node.alive else ():
                with suppress(psutil.Error, OSError):
                    process = psutil.Process(pid)
                    command = " ".join(process.cmdline())
                    if any(word in command for word in OURS) and process.status() != psutil.STATUS_ZOMBIE:
                        found.append((named(process, command), process))
        return found

    def node(self, dice: random.Random) -> tuple[str, str]:
        """One that takes part, and what it is."""
        hosts = [host for host in self.hosts(self.run) if self.cluster.nodes[host].alive]
        if not hosts or not events(self.run, "supervising"):
            return "", "nobody"
        host = dice.choice(hosts)
        return host, "batch host" if host == self.hosts(self.run)[0] else "another node"


def named(process: psutil.Process, command: str) -> str:
    for name, words in (("supervisor", "launcher supervise"), ("srun", "srun ")):
        if words in command:
            return name
    return role(process)


def chosen(scene: Scene, dice: random.Random) -> tuple[str, psutil.Process] | None:
    """First a role, then one that plays it."""
    everyone = scene.roles()
    if not everyone:
        return None
    name = dice.choice(sorted({each for each, _ in everyone}))
    return dice.choice([each for each in everyone if each[0] == name])


def killed(scene: Scene, dice: random.Random) -> str:
    if (victim := chosen(scene, dice)) is None:
        return "nobody to kill"
    with suppress(psutil.NoSuchProcess):
        victim[1].kill()
    return f"{victim[0]} killed"


def stopped_process(scene: Scene, dice: random.Random) -> str:
    """For a while, or for good where the run can do without it."""
    if (victim := chosen(scene, dice)) is None:
        return "nobody to freeze"
    name, process = victim
    with suppress(psutil.NoSuchProcess):
        process.suspend()
        if name in ("rank", "agent", "wrapper", "srun") and dice.random() < 0.5:
            return f"{name} frozen for good"
        frozen_s = dice.choice(FROZEN_S)
        time.sleep(frozen_s)
        process.resume()
        return f"{name} frozen {length(frozen_s)}"
    return f"{name} frozen"


def length(seconds: float) -> str:
    return "shortly" if seconds < 5 else "long"


def crashed(scene: Scene, dice: random.Random) -> str:
    host, what = scene.node(dice)
    if host:
        scene.cluster.crash(host)
        if dice.random() < 0.5:
            time.sleep(dice.choice(FROZEN_S))
            scene.cluster.boot(host)
    return f"{what} crashed"


def frozen(scene: Scene, dice: random.Random) -> str:
    host, what = scene.node(dice)
    frozen_s = dice.choice((*FROZEN_S, 40.0))
    if host:
        scene.cluster.nodes[host].freeze()
        time.sleep(frozen_s)
        scene.cluster.nodes[host].thaw()
    return f"{what} frozen {length(frozen_s)}"


def cut(scene: Scene, dice: random.Random) -> str:
    host, what = scene.node(dice)
    cut_s = dice.choice((*FROZEN_S, 40.0))
    if host:
        scene.cluster.cut(host)
        time.sleep(cut_s)
        scene.cluster.heal(host)
    return f"{what} cut off {length(cut_s)}"


def controller_down(scene: Scene, dice: random.Random) -> str:
    scene.cluster.stop_controller()
    time.sleep(dice.choice((0.0, 5.0)))
    scene.cluster.start_controller()
    return "controller restarted"


def step_cancelled(scene: Scene, dice: random.Random) -> str:
    steps = scene.cluster.run("squeue", "-h", "-s", "-o", "%i").split()
    steps = [each for each in steps if each.rpartition(".")[2].isdigit()]
    if steps:
        with suppress(AssertionError):
            scene.cluster.run("scancel", dice.choice(steps))
    return "step cancelled"


def preempted(scene: Scene, dice: random.Random) -> str:
    """Only runs of a partition that can be are."""
    scene.cluster.run("sbatch", "--partition=high", "--nodes=4", "--exclusive", "--output=/dev/null", "--wrap=sleep 2")
    return "preempted"


def requeued(scene: Scene, dice: random.Random) -> str:
    """Which Slurm refuses, since jobs are submitted with --no-requeue."""
    jobs = scene.cluster.run("squeue", "-h", "-t", "RUNNING", "-o", "%i").split()
    for job in jobs:
        with suppress(AssertionError):
            scene.cluster.run("scontrol", "requeue", job)
    return "requeue asked for"


def job_cancelled(scene: Scene, dice: random.Random) -> str:
    scene.by_hand = True
    for job in scene.cluster.run("squeue", "-h", "-t", "RUNNING", "-o", "%i").split():
        scene.cluster.run("scancel", job)
    return "job cancelled"


def disk_full(scene: Scene, dice: random.Random) -> str:
    scene.by_hand = True
    full_s = dice.choice((1.0, 4.0, 10.0))
    filler = scene.folder / "runs" / ".filler"
    with suppress(OSError), filler.open("wb") as file:
        while file.write(bytes(1 << 16)):
            file.flush()
    time.sleep(full_s)
    filler.unlink()
    return "disk full"


def damaged_checkpoint(scene: Scene, dice: random.Random) -> str:
    """The newest, as a bad disk would; then a death that makes the run look for it."""
    with suppress(OSError, ValueError, IndexError):
        newest = max(scene.run.path.glob("checkpoints/step-*"))
        file = dice.choice(sorted(newest.iterdir()))
        content = bytearray(file.read_bytes())
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
        file.write_bytes(content)
    return f"checkpoint damaged, {killed(scene, dice)}"


def logs_deleted(scene: Scene, dice: random.Random) -> str:
    shutil.rmtree(scene.run.logs, ignore_errors=True)
    return f"logs deleted, {killed(scene, dice)}"


def stopped(scene: Scene, dice: random.Random) -> str:
    scene.by_hand = True
    scene.call("stop", str(scene.run.path))
    return "stopped"


def hang(scene: Scene, dice: random.Random) -> str:
    where = dice.choice(("python", "c", "a-collective"))
    (scene.run.path / f"hang-in-{where}").touch()
    return f"hang in {where}"


def signalled(scene: Scene, dice: random.Random) -> str:
    """The time limit's early warning, which changes nothing yet."""
    for name, process in scene.roles():
        if name == "supervisor":
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGUSR1)
    return "warned"


FAULTS: tuple[Callable[[Scene, random.Random], str], ...] = (
    crashed, killed, hang, frozen, stopped_process, preempted, cut, damaged_checkpoint, step_cancelled, controller_down, killed,
    stopped, disk_full, logs_deleted, job_cancelled, requeued, signalled,
)  # fmt: skip
