"""Where a run executes. Sibling modules with the same functions; `choose` picks one."""

from __future__ import annotations

import subprocess
from types import ModuleType
from typing import Protocol

from launcher.backends import local
from launcher.plan import Cluster, Node
from launcher.spec import Job


class Backend(Protocol):
    """What every module here provides."""

    def cluster(self, job: Job) -> Cluster:
        """What there is to run on, asked of the machine. Raises BackendError."""

    def start_agent(self, node: Node) -> subprocess.Popen[bytes]:
        """An agent for a node of the plan, with pipes to its standard input and output."""


BACKENDS: dict[str, ModuleType] = {"local": local}


def choose(name: str) -> ModuleType:
    """The backend of a job's `resources.backend`; `auto` takes what is there."""
    return BACKENDS["local" if name == "auto" else name]
