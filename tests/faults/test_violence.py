"""One random fault at a random moment, then `launch resume` until done: it ends right, in time, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from launcher.agent.__main__ import remove_abandoned
from tests.faults.conftest import Bench, over, until
from tests.faults.mischief import FAULTS, clock_jumped, damaged_checkpoint, disk_full, moved
from tests.faults.processes import kill_all, left
from tests.faults.test_killed_at_any_instant import JOB, outcome

MOST_RESUMES = 4
LINGERS_S = 5.0
"""So long there may be something in shared memory of a stranger's training that is ending."""
IN_THE_SUITE = {clock_jumped, moved}
"""The others are nearly covered by tests of their own."""
SMALL = {**JOB["train"]["model"], "hidden": [64, 64]}
SCRIPT = """
import json, math, os, time
from pathlib import Path
import torch, torch.distributed as dist
import launcher

kept = Path(os.environ["LAUNCHER_RUN_DIR"]) / "mine.json"
dist.init_process_group("gloo")
rank = dist.get_rank()
held = [json.loads(kept.read_text()) if rank == 0 and kept.exists() else {"step": 0, "value": 1.0}]
dist.broadcast_object_list(held)
step, value, stopping = held[0]["step"], held[0]["value"], False
while step < 150 and not stopping:
    total = torch.tensor([value * (rank + 1), float(launcher.should_stop())], dtype=torch.float64)
    dist.all_reduce(total)
    step, value, stopping = step + 1, math.sin(total[0].item()), total[1].item() > 0
    launcher.pulse(step)
    if rank == 0 and (step % 10 == 0 or stopping):
        aside = kept.with_suffix(".aside")
        aside.write_text(json.dumps({"step": step, "value": value}))
        aside.replace(kept)
    time.sleep(0.01)
dist.destroy_process_group()
"""


@dataclass(frozen=True, kw_only=True)
class Case:
    builtin: bool
    nodes: int
    ranks: int
    """Of each node."""
    engine: str
    loaders: int

    @property
    def job(self) -> dict[str, Any]:
        resources = {"nodes": self.nodes, "procs_per_node": self.ranks, "threads": 1, "device": "cpu", "agent": self.engine}
        job: dict[str, Any] = {"run": {"script": "train.py"}}
        if self.builtin:
            data = {**JOB["train"]["data"], "num_workers": self.loaders}
            job = {**JOB, "train": {**JOB["train"], "model": SMALL, "epochs": 3, "data": data}}
        return {**job, "resources": resources, "retry": {"max_restarts": 50, "lost_after": "5s"}}


def drawn(dice: random.Random) -> Case:
    nodes = dice.choice((1, 1, 2))
    return Case(
        builtin=dice.random() < 0.7, nodes=nodes, ranks=dice.choice((1, 2, 2, 3, 4) if nodes == 1 else (1, 1, 2)),
        engine=dice.choice(("launcher",) * 5 + ("torchrun",)), loaders=dice.choice((0, 0, 1)),
    )  # fmt: skip


class Scene(Bench):
    """A bench whose processes all bear a mark: a folder for temporary files of their own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.temporary = Path(tempfile.mkdtemp(prefix="v-", dir="/tmp"))  # short: sockets lie below it
        self.mark = f"TMPDIR={self.temporary}"
        self.mounted = False
        self.home = folder  # until there is a run
        self.memory = shared_memory()
        (folder / "train.py").write_text(SCRIPT)
        (folder / "runs").mkdir()

    def launch(self, *argv: str) -> subprocess.Popen[bytes]:
        before = os.environ.get("TMPDIR")
        os.environ["TMPDIR"] = str(self.temporary)
        try:
            return super().launch(*argv)
        finally:
            os.environ.pop("TMPDIR")
            os.environ.update({"TMPDIR": before} if before is not None else {})

    def small_disk(self) -> None:
        mount = ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(self.folder / "runs")]
        self.mounted = subprocess.run(mount, capture_output=True).returncode == 0
        if not self.mounted:
            pytest.skip("only root can mount a small disk")

    def close(self) -> None:
        kill_all(self.mark)
        for process in self.started:
            process.wait()
        if self.mounted:
            subprocess.run(["umount", "-l", self.folder / "runs"], check=True)
        shutil.rmtree(self.temporary)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.close()


def ending(case: Case, run: Path) -> Any:
    return outcome(run) if case.builtin else json.loads((run / "mine.json").read_text())


@cache
def undisturbed(builtin: bool, world: int) -> tuple[Any, float]:
    """How it ends, whatever the nodes, the engine and the loaders; and how long it takes (seconds)."""
    case = Case(builtin=builtin, nodes=1, ranks=world, engine="launcher", loaders=0)
    with tempfile.TemporaryDirectory() as folder:
        scene, began = Scene(Path(folder)), time.monotonic()
        try:
            assert scene.wait(scene.launch(str(scene.spec(case.job)))) == 0, scene.screen()
            return ending(case, scene.run()), time.monotonic() - began
        finally:
            scene.close()


def shared_memory() -> set[Path]:
    """Of torch's processes that are dead: torch_PID_..."""
    return {each for each in Path("/dev/shm").glob("torch_*") if not Path("/proc", each.name.split("_")[1]).exists()}


def remains(scene: Scene, run: Path) -> list[str]:
    """What a finished run should not have left."""
    own = (".supervisor", ".mark.json")
    hidden = [each for each in run.rglob(".*") if each.name not in own and not each.name.endswith(".damaged")]
    memory = shared_memory() - scene.memory
    deadline = time.monotonic() + LINGERS_S
    while memory and time.monotonic() < deadline:
        time.sleep(0.1)
        memory &= shared_memory()
    remove_abandoned(str(scene.temporary))  # as the next agent here does: of one that was killed with its wrapper nobody else can
    kept = [each for each in scene.temporary.iterdir() if not each.name.startswith("torchinductor_")]  # torch's own cache
    return [str(each) for each in (*hidden, *memory, *kept)]


def suffer(scene: Scene, seed: int) -> str:
    """Draws a case and a fault, and goes through with it. Returns what happened, in words."""
    dice = random.Random(seed)
    fault, case = FAULTS[seed % len(FAULTS)], drawn(dice)
    if fault is damaged_checkpoint:
        case = replace(case, builtin=True)
    expected, seconds = undisturbed(case.builtin, case.nodes * case.ranks)
    if fault is disk_full:
        scene.small_disk()
    process = scene.launch(str(scene.spec(case.job)))
    scene.home = until(lambda: next(iter(scene.folder.glob("runs/2*")), None))
    time.sleep(dice.uniform(0.05, 1.0) * seconds)
    story = f"{case}: {fault(scene, dice)}"
    codes = [scene.wait(process)]
    assert left(scene.mark) == [], story
    while not over(scene.home, codes[-1]) and len(codes) <= MOST_RESUMES:
        codes.append(scene.wait(scene.launch("resume", str(scene.home))))
        assert left(scene.mark) == [], story
    assert over(scene.home, codes[-1]), f"{story}\n{codes}\n{scene.screen()}"
    assert "launcher/cli" not in scene.screen(), f"a traceback of the command: {story}\n{scene.screen()}"
    assert ending(case, scene.home) == expected, story
    assert remains(scene, scene.home) == [], story
    return f"{story} {codes}"


@pytest.mark.parametrize(
    "seed",
    [seed if fault in IN_THE_SUITE else pytest.param(seed, marks=pytest.mark.long) for seed, fault in enumerate(FAULTS)],
)
def test_one_fault_costs_nothing(scene: Scene, seed: int) -> None:
    suffer(scene, seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 400))
def test_one_fault_costs_nothing_three_hundred_times(scene: Scene, seed: int) -> None:
    suffer(scene, seed)
