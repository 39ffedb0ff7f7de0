"""A program without torch that counts, saves when it is asked to, and goes on from there; and what a test needs around it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from launcher.rundir import RunDir, json_lines
from tests.patience import PATIENCE_S
from tests.slurm.cluster import Cluster
from tests.slurm.cluster import wait_for as wait_until

BY_HAND = Path(__file__).parents[2] / "slurm" / "train.sbatch"
ASKED = ("Partition", "MinMemoryCPU", "ExcNodeList", "Features", "Reservation", "TresPerNode", "CPUs/Task")
"""What scontrol tells of a job's size and place."""

PROGRAM = """\
import os, sys, time
from pathlib import Path
from launcher.rank import pulse, should_stop

run = Path(os.environ["LAUNCHER_RUN_DIR"])
if Path("/dev/shm/black-hole").exists():
    while "successor" not in (run / "events.jsonl").read_text():
        time.sleep(0.05)
    sys.exit(9)
kept = run / f"rank-{os.environ['RANK']}.count"
count = int(kept.read_text()) if kept.exists() else 0
while count < int(sys.argv[1]):
    time.sleep(0.05)
    count += count < int(sys.argv[1]) - 1 or not Path("hold").exists()
    pulse(count)
    if should_stop():
        break
    kept.with_suffix(".polls").touch()
kept.write_text(str(count))
"""


GRACE = "10s"
"""Enough for a rank that the machine holds up: it is to save, and not to be told by SIGTERM."""
LOST_AFTER = {"lost_after": "60s"}
"""An agent that the machine holds up is not lost."""
SOON_LOST = {"lost_after": "8s"}
"""Where a node is crashed, frozen or cut off, and that is to be seen."""


class Counting:
    """Submits jobs from a folder of its own."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder
        (folder / "count.py").write_text(PROGRAM)
        path = f"{cluster.folder}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.environment = {**cluster.environment, "XDG_STATE_HOME": str(folder / "state"), "NO_COLOR": "1", "PATH": path}

    def launch(self, count: int, **parts: Any) -> RunDir:
        """Counts to `count`, twenty a second."""
        entry = {"program": [sys.executable, "count.py", str(count)], "stop_grace": GRACE}
        return self.submit({"run": entry, **parts})

    @contextmanager
    def held(self) -> Iterator[None]:
        """Who counts stays one below the end meanwhile: what befalls a run comes before its end, however slow the machine."""
        hold = self.folder / "hold"
        hold.touch()
        try:
            yield
        finally:
            hold.unlink()

    def submit(self, job: dict[str, Any]) -> RunDir:
        self.call("run", self.written(job))
        return RunDir(max((self.folder / "runs").iterdir(), key=lambda path: path.stat().st_ctime))

    def by_hand(self, count: int, *options: str) -> RunDir:
        """The same with sbatch alone, and without nodes in the job; once it has begun."""
        job = self.written({"run": {"program": [sys.executable, "count.py", str(count)], "stop_grace": GRACE}})
        self.execute("sbatch", *options, f"--output={self.folder}/%j.said", str(BY_HAND), job)
        folder = self.folder / "runs"
        wait_until(lambda: folder.exists() and any(folder.glob("*/events.jsonl")), "the run")
        return RunDir(next(folder.iterdir()))

    def written(self, job: dict[str, Any]) -> str:
        resources = {"procs_per_node": 1, "backend": "slurm", "snapshot": False, **job.pop("resources", {})}
        retry = {**LOST_AFTER, **job.pop("retry", {})}
        spec = self.folder / "job.yaml"
        spec.write_text(json.dumps({"name": "counting", "resources": resources, "retry": retry, **job}))
        return str(spec)

    def call(self, *argv: str) -> str:
        return self.execute(sys.executable, "-m", "launcher", *argv)

    def execute(self, *argv: str) -> str:
        done = subprocess.run(argv, cwd=self.folder, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def asked_for(self, job: str, *names: str) -> dict[str, str]:
        """What Slurm was asked for."""
        fields = dict(
            word.split("=", 1) for word in self.cluster.run("scontrol", "show", "job", "-o", job).split() if "=" in word
        )
        return {name: fields.get(name, "") for name in names or ASKED}

    def queued(self) -> list[str]:
        """Numbers of the jobs that wait or run."""
        return self.cluster.run("squeue", "-h", "-o", "%i").split()

    def job(self, run: RunDir) -> str:
        """The queue job that has the run now."""
        return str([each["job"] for each in events(run, "supervising")][-1])

    def hosts(self, run: RunDir) -> list[str]:
        plan = json.loads(run.plan.read_text())
        return [node["host"] for node in plan["nodes"]]


def events(run: RunDir, *kinds: str) -> list[dict[str, Any]]:
    return [entry for entry in json_lines(run.events) if not kinds or entry["event"] in kinds]


def wait(run: RunDir, until: Callable[[], Any], what: str, timeout_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not until():
        told = "\n".join(str(entry) for entry in events(run))
        logs = "\n".join(path.read_text(errors="replace") for path in run.logs.rglob("*.out"))
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s for {what}:\n{told}\n{logs}"
        time.sleep(0.1)


def wait_for(run: RunDir, event: str, times: int = 1) -> dict[str, Any]:
    wait(run, lambda: len(events(run, event)) >= times, f"{event} ({times})")
    return events(run, event)[times - 1]


def wait_for_counting(run: RunDir, ranks: int = 1) -> None:
    """Until all ranks have counted and asked whether to stop."""
    wait_for(run, "successor")
    wait(run, lambda: len(list(run.path.glob("*.polls"))) == ranks, "the first count")


def wait_for_end(run: RunDir, state: str) -> dict[str, Any]:
    wait(run, lambda: (said := events(run, "done", "failed", "stopped", "cancelled")) and said[-1]["event"], f"the end: {state}")
    end = events(run, "done", "failed", "stopped", "cancelled")[-1]
    assert end["event"] == state, events(run)
    return end
