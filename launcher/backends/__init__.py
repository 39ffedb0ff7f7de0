"""Where a run executes. Sibling modules with the same functions; `choose` picks one."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from typing import Protocol

from launcher.backends import local, slurm
from launcher.plan import Cluster, Node, Plan
from launcher.rundir import RunDir
from launcher.spec import Job


class Backend(Protocol):
    """What every module here provides."""

    def cluster(self, job: Job) -> Cluster:
        """What there is to run on, asked of the machine. Raises BackendError."""

    def start_agents(self, plan: Plan, nodes: Sequence[Node]) -> Iterator[tuple[subprocess.Popen[bytes], Sequence[Node]]]:
        """Agents on some of the plan's nodes: processes with pipes to their standard streams, and the nodes that each serves."""


class Queue(Protocol):
    """What a backend provides beside it where jobs wait for their nodes."""

    def submit(self, run: RunDir, job: Job, plan: Plan) -> str:
        """The job's number. Raises BackendError."""


BACKENDS: dict[str, Backend] = {"local": local, "slurm": slurm}

QUEUES: dict[str, Queue] = {"slurm": slurm}


def choose(name: str) -> Backend:
    """The backend of a job's `resources.backend`; `auto` takes what is there."""
    if name == "auto":
        name = "slurm" if "SLURM_JOB_ID" in os.environ or shutil.which("sbatch") else "local"
    return BACKENDS[name]
