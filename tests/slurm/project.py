"""A folder with a program of its own, and launch as a user of a login node calls it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.patience import PATIENCE_S
from tests.slurm.cluster import Cluster, wait_for

WRITES = """\
import json, os, sys
from pathlib import Path
out = Path(os.environ["LAUNCHER_RUN_DIR"]) / f"rank-{os.environ['RANK']}.json"
out.write_text(json.dumps({"word": "WORD", "world": os.environ["WORLD_SIZE"], "cwd": os.getcwd(), "env": dict(os.environ)}))
print("the word is", "WORD", flush=True)
"""
JOB = """\
name: {name}
run: {{program: [{python}, own.py]}}
resources: {{procs_per_node: 1, {resources}}}
retry: {{lost_after: 60s, {retry}}}
{more}"""
"""An agent that the machine holds up is not lost."""


class Project:
    """Programs without torch: what is tested here is what stands around them."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder
        folder.mkdir(exist_ok=True)
        self.env = {**cluster.environment, "PATH": f"{cluster.folder}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}"}
        self.program("one")

    def program(self, word: str, *, then: str = "") -> None:
        (self.folder / "own.py").write_text(WRITES.replace("WORD", word) + then)

    def job(self, resources: str = "backend: slurm", *, name: str = "job", retry: str = "", more: str = "") -> str:
        """The name of a job file."""
        text = JOB.format(name=name, python=sys.executable, resources=resources, retry=retry, more=more)
        (self.folder / f"{name}.yaml").write_text(text)
        return f"{name}.yaml"

    def call(self, *argv: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(argv, cwd=cwd or self.folder, env={**self.env, **env}, capture_output=True, text=True, check=False)

    def launch(self, *argv: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        return self.call("launch", *argv, cwd=cwd, **env)

    def submit(self, *argv: str, **env: str) -> Path:
        """The run's directory."""
        done = self.launch(*argv, "--json", cwd=None, **env)
        assert done.returncode == 0, done.stderr
        return Path(json.loads(done.stdout)["path"])

    def status(self, run: Path) -> dict[str, Any]:
        done = self.launch("status", str(run), "--json")
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    def wait(self, run: Path, *states: str, timeout_s: float = PATIENCE_S) -> dict[str, Any]:
        until = time.monotonic() + timeout_s
        while (now := self.status(run))["state"] not in states:
            assert time.monotonic() < until, f"{now['state']}: {now['reason']}"
            time.sleep(0.2)
        return now

    def wrote(self, run: Path, rank: int = 0) -> dict[str, Any]:
        return dict(json.loads((run / f"rank-{rank}.json").read_text()))

    def queue(self) -> list[str]:
        return self.cluster.run("squeue", "--noheader", "--format=%i").split()

    def wait_for_empty_queue(self) -> None:
        """A run is done before its job is: that ends, and its successor is taken out of the queue."""
        wait_for(lambda: not self.queue(), "an empty queue")
