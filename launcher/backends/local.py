"""This machine. More than one node is a rehearsal: that many agents, with cores and GPUs divided between them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from launcher.backends.carrier import start_carrier
from launcher.errors import BackendError
from launcher.plan import Cluster, Machine, Node, Plan
from launcher.spec import Job

T = TypeVar("T")
LOOPBACK = "127.0.0.1"
NVIDIA = Path("/proc/driver/nvidia/gpus")
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def cluster(job: Job) -> Cluster:
    """Raises BackendError where the nodes of a rehearsal would have to share a GPU."""
    nodes, host = job.resources.most + job.resources.spares, socket.gethostname()
    cpus = usable_cpus()
    gpus = () if job.resources.device == "cpu" else visible_gpus()
    if gpus and len(gpus) < nodes:
        raise BackendError(
            f"{nodes} nodes on this machine need a GPU each, and there are {len(gpus)}. "
            "Rehearse on the CPU with --set resources.device=cpu"
        )
    machines = tuple(
        Machine(host=host, address=LOOPBACK, cpus=share(cpus, index, nodes), gpus=tuple(share(gpus, index, nodes)))
        for index in range(nodes)
    )
    python = job.environment.python or sys.executable
    return Cluster(backend="local", machines=machines, python=python, rehearsal=nodes > 1)


def start_agents(_plan: Plan, nodes: Sequence[Node]) -> Iterator[tuple[subprocess.Popen[bytes], Sequence[Node]]]:
    """Each in a session of its own, so that Ctrl-C in the terminal reaches the supervisor alone. Raises BackendError."""
    for node in nodes:
        yield start_carrier(node.argv), (node,)


def share(items: Sequence[T], index: int, parts: int) -> tuple[T, ...]:
    """An even, contiguous share; where there are fewer items than parts, one of them in turn."""
    own = items[index * len(items) // parts : (index + 1) * len(items) // parts]
    return tuple(own) or (tuple(items[index % len(items) :][:1]) if items else ())


def usable_cpus() -> tuple[int, ...]:
    """Cores that this process may use, no more than a container's quota grants."""
    cpus = tuple(sorted(os.sched_getaffinity(0)))
    return cpus[: quota(len(cpus))]


def quota(cores: int) -> int:
    """Whole cores of the cgroup's CPU quota (cgroup v2: `cpu.max` holds `quota period` in microseconds, or `max`)."""
    try:
        granted, period = CPU_QUOTA.read_text().split()
        return max(1, min(cores, -(-int(granted) // int(period))))
    except (OSError, ValueError):
        return cores


def visible_gpus() -> tuple[str, ...]:
    """What CUDA_VISIBLE_DEVICES names, else all that the driver knows. No CUDA call: it would cost a second and a context."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return tuple(gpu.strip() for gpu in named.split(",") if gpu.strip() and gpu.strip() != "-1")
    count = len(list(NVIDIA.iterdir())) if NVIDIA.is_dir() else 0
    return tuple(str(index) for index in range(count))
