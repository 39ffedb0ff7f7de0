"""This machine. More than one node is a rehearsal: that many agents, with cores and GPUs divided between them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from launcher.backends.carrier import agent_command, interpreter, set_up, start_carrier
from launcher.backends.check import machine
from launcher.errors import BackendError
from launcher.gpus import visible_gpus
from launcher.plan import Cluster, Machine, Node, Plan
from launcher.spec import Job
from launcher.topology import Topology, read_topology

T = TypeVar("T")
LOOPBACK = "127.0.0.1"
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")

check = machine


def cluster(job: Job) -> Cluster:
    """Raises BackendError where the nodes of a rehearsal would have to share a GPU, or the container's runtime is Slurm's."""
    if job.environment.container and job.environment.runtime == "pyxis":
        raise BackendError(
            "environment.container: pyxis is a plug-in of Slurm, and this runs on this machine alone. "
            "Write runtime: apptainer, or --set environment.container=null"
        )
    python = interpreter(job, sys.executable)
    nodes, host = job.resources.most + job.resources.spares, socket.gethostname()
    cpus = usable_cpus()
    gpus = () if job.resources.device == "cpu" else visible_gpus()
    if gpus and len(gpus) < nodes:
        raise BackendError(
            f"{nodes} nodes on this machine need a GPU each, and there are {len(gpus)}. "
            "Rehearse on the CPU with --set resources.device=cpu"
        )
    machines = tuple(
        Machine(
            host=host,
            address=LOOPBACK,
            cpus=share(cpus, index, nodes),
            gpus=tuple(share(gpus, index, nodes)),
            agent=(*set_up(job), *agent_command(job, python, index)),
            topology=topology(share(cpus, index, nodes), share(gpus, index, nodes)),
        )
        for index in range(nodes)
    )
    outside = sys.executable if job.environment.container else None
    return Cluster(backend="local", machines=machines, python=python, outside=outside, rehearsal=nodes > 1)


def start_agents(_plan: Plan, nodes: Sequence[Node], log: Path) -> Iterator[tuple[subprocess.Popen[bytes], Sequence[Node]]]:
    """Each in a session of its own, so that Ctrl-C in the terminal reaches the supervisor alone. Raises BackendError."""
    for node in nodes:
        yield start_carrier(node.argv, log), (node,)


def shell(_node: Node, _job: str | None, command: Sequence[str], *, terminal: bool) -> tuple[str, ...]:  # noqa: ARG001
    """All its nodes are here."""
    return tuple(command)


def share(items: Sequence[T], index: int, parts: int) -> tuple[T, ...]:
    """An even, contiguous share; where there are fewer items than parts, one of them in turn."""
    own = items[index * len(items) // parts : (index + 1) * len(items) // parts]
    return tuple(own) or (tuple(items[index % len(items) :][:1]) if items else ())


def topology(cpus: tuple[int, ...], gpus: tuple[str, ...]) -> Topology | None:
    """Of one node's share of this machine. A quota means no core in particular: then there is nothing to bind to."""
    whole = len(os.sched_getaffinity(0))
    return read_topology(cpus, {"CUDA_VISIBLE_DEVICES": ",".join(gpus)}) if quota(whole) == whole else None


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
