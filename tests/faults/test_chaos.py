"""A training on a real cluster under random faults, for as long as it is told: it ends as if nobody had touched it.

CHAOS_MINUTES says how long, CHAOS_SEED where to begin: each round has the next seed, which draws what happens in it.
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from launcher.agent.__main__ import remove_abandoned
from launcher.rundir import RunDir
from tests.faults.chaos import FAULTS, Scene
from tests.faults.test_killed_at_any_instant import outcome
from tests.slurm.cluster import Cluster, missing
from tests.slurm.counting import events

MOST_S = 240.0
REPAIRED_S = 25.0
"""After the last fault somebody boots the nodes that crashed, and brings back those that Slurm took out."""
CLEAN_WITHIN_S = 70.0
"""Slurm kills what it has told to end half a minute later (KillWait)."""
MOST_RESUMES = 6
FINAL = ("done", "failed", "stopped", "cancelled")
TRAIN = {
    "model": {"target": "mlp", "in_features": 16, "out_features": 4, "dropout": 0.1},
    "loss": "cross_entropy",
    "optimizer": {"target": "adamw", "lr": 0.01},
    "data": {"train": {"target": "items:Items"}, "batch_size": 32},
    "metrics": ["accuracy"],
    "max_steps": 400,
}


def job(**resources: Any) -> dict[str, Any]:
    return {
        "train": TRAIN, "checkpoint": {"every": "20 steps"}, "log": {"every": "1 steps", "plots": False},
        "retry": {"max_restarts": 50, "hang_timeout": "12s", "lost_after": "5s"},
        "resources": {"nodes": 2, "threads": 1, "device": "cpu", **resources},
    }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Happened:
    what: str
    at: float
    """Seconds since the epoch."""
    recovered_s: float | None = None
    """To the first step of the next attempt; None where none was needed, or the next fault came first."""


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A short path: sockets lie below it."""
    folder = Path(tempfile.mkdtemp(prefix="chaos-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def cluster(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Its nodes see the small disk, for they are booted after it."""
    if why := missing():
        pytest.skip(why)
    with small_disk(place / "runs"), Cluster(tmp_path_factory.mktemp("cluster"), nodes=4) as four:
        yield four


@pytest.fixture(scope="module")
def undisturbed(cluster: Cluster, place: Path) -> dict[str, Any]:
    return outcome(Scene(cluster, place).submit(job(backend="local")).path)


def disturb(scene: Scene, dice: random.Random, seed: int) -> Iterator[Happened]:
    """The round's own fault first, then perhaps others: while it trains, or at any other moment."""
    for fault in [FAULTS[seed % len(FAULTS)], *(dice.choice(FAULTS) for _ in range(dice.choice((0, 0, 1, 2))))]:
        if dice.random() < 0.8:
            wait_until(lambda: state(scene) in ("running", *FINAL), 60)
        time.sleep(dice.uniform(0.0, 4.0))
        if state(scene) in FINAL:
            return
        at = time.time()
        yield Happened(what=fault(scene, dice), at=at)


def wait_until(condition: Callable[[], Any], within_s: float) -> bool:
    until = time.monotonic() + within_s
    while not (met := bool(condition())) and time.monotonic() < until:
        time.sleep(0.1)
    return met


def state(scene: Scene) -> str:
    return str(json.loads(scene.call("status", str(scene.run.path), "--json"))["state"])


def bring_to_its_end(scene: Scene, story: str) -> None:
    """By itself; by `launch resume` only where somebody stopped it, or the disk was full."""
    began, resumes = time.monotonic(), 0
    while (now := state(scene)) != "done":
        assert time.monotonic() < began + MOST_S, f"{now} after {MOST_S:g} s: {story}\n{told_of(scene)}"
        if now in FINAL:
            resumes += 1
            assert resumes <= (MOST_RESUMES if scene.by_hand else 0), f"{now}: {story}\n{told_of(scene)}"
            scene.call("resume", str(scene.run.path))
        if time.monotonic() > began + REPAIRED_S:
            scene.cluster.boot_crashed()
            scene.cluster.bring_back()
        time.sleep(0.5)


def told_of(scene: Scene) -> str:
    told = [json.dumps(each, ensure_ascii=False) for each in events(scene.run) if each["event"] != "checkpoint"]
    logs = [f"== {path}\n{path.read_text(errors='replace')[-2000:]}" for path in scene.run.logs.rglob("*.out")]
    return "\n".join([*told, *logs, f"queue: {scene.cluster.run('squeue')}", f"processes: {scene.roles()}"])


def remains(scene: Scene) -> list[str]:
    """What a run that has ended should not have left."""
    own = (".supervisor", ".mark.json")
    hidden = [each for each in scene.run.path.rglob(".*") if each.name not in own and not each.name.endswith(".damaged")]
    remove_abandoned(str(scene.folder))  # as the next agent there does: of one that lost its power nobody else can
    folders = scene.folder.glob("launcher-agent-*")
    return [*map(str, (*hidden, *folders)), *(f"{name} {process.pid}" for name, process in scene.roles()), *scene.queued()]


def recovered(run: RunDir, happened: Sequence[Happened]) -> list[Happened]:
    """With the first step after each, where that came before the next fault."""
    began = [datetime.fromisoformat(each["time"]).timestamp() for each in events(run, "running")]
    ends = [*(each.at for each in happened[1:]), math.inf]
    return [
        replace(each, recovered_s=min((at - each.at for at in began if each.at < at < end), default=None))
        for each, end in zip(happened, ends, strict=True)
    ]


def one_round(cluster: Cluster, place: Path, seed: int, expected: dict[str, Any]) -> list[Happened]:
    dice = random.Random(seed)
    scene = Scene(cluster, place)
    partition, spares = dice.choice(("main", "low", "swift")), dice.choice((0, 0, 1))
    scene.run = scene.submit(job(spares=spares, slurm={"partition": partition}))
    story, happened = f"seed {seed}, partition {partition}, {spares} spares", []
    wait_until(lambda: events(scene.run, "supervising"), 60)
    for each in disturb(scene, dice, seed):
        happened.append(each)
        story = f"{story}; {each.what}"
    bring_to_its_end(scene, story)
    assert outcome(scene.run.path) == expected, f"{story}\n{told_of(scene)}"
    assert wait_until(lambda: not remains(scene), CLEAN_WITHIN_S), f"left behind: {remains(scene)}: {story}\n{told_of(scene)}"
    cluster.wait_idle()
    happened = recovered(scene.run, happened)
    print(story, [f"{each.recovered_s:.1f} s" if each.recovered_s else "-" for each in happened], flush=True)
    shutil.rmtree(scene.run.path)
    shutil.rmtree(place / "state", ignore_errors=True)
    return happened


def table(happened: Sequence[Happened]) -> str:
    kinds: dict[str, list[float | None]] = defaultdict(list)
    for each in happened:
        kinds[each.what].append(each.recovered_s)
    lines = [f"{'fault':44} times  new attempt  seconds to its first step: median, most"]
    for what, seconds in sorted(kinds.items()):
        known = [each for each in seconds if each is not None]
        figures = f"{statistics.median(known):6.1f} {max(known):6.1f}" if known else ""
        lines.append(f"{what:44} {len(seconds):5}  {len(known):11}  {figures}")
    return "\n".join(lines)


def chaos(cluster: Cluster, place: Path, expected: dict[str, Any], *, minutes: float, seed: int) -> None:
    until, happened = time.monotonic() + 60 * minutes, list[Happened]()
    print(f"seeds from {seed} on")
    try:
        while time.monotonic() < until:
            happened += one_round(cluster, place, seed, expected)
            seed += 1
    finally:
        print(table(happened), flush=True)


@pytest.mark.long
@pytest.mark.timeout(0)
def test_for_as_long_as_it_is_told(cluster: Cluster, place: Path, undisturbed: dict[str, Any]) -> None:
    minutes, seed = float(os.environ.get("CHAOS_MINUTES", "60")), int(os.environ.get("CHAOS_SEED", str(int(time.time()))))
    chaos(cluster, place, undisturbed, minutes=minutes, seed=seed)
