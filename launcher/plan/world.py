"""How many ranks there are, and where."""

from __future__ import annotations

from typing import Literal

from launcher.errors import BackendError
from launcher.plan.model import Cluster, Machine, World
from launcher.spec import Job

CORES_PER_RANK = 2
"""Without a GPU. One rank per core was measured slower, and a busy neighbour then stalls every rank."""


def make_world(job: Job, cluster: Cluster) -> World:
    smallest_gpus = min(len(machine.gpus) for machine in cluster.machines)
    cores = min(len(machine.cpus) for machine in cluster.machines)
    wants = job.resources
    if wants.device == "cuda" and smallest_gpus == 0:
        without = next(machine.host for machine in cluster.machines if not machine.gpus)
        raise BackendError(
            f"resources.device asks for cuda, but {without} has no GPU for this job. Write device: auto to train on the CPU"
        )
    device: Literal["cpu", "cuda"] = "cuda" if smallest_gpus and wants.device != "cpu" else "cpu"
    room = min(places(machine, device) for machine in cluster.machines)
    if job.train and job.train.parallel != "ddp":
        room = min(room, 1)
    procs = room if wants.procs_per_node == "auto" else wants.procs_per_node
    if device == "cuda" and job.train and procs > smallest_gpus:
        raise BackendError(
            f"{procs} ranks per node want a GPU each, and there are {smallest_gpus}. "
            f"Write procs_per_node: {smallest_gpus}, or device: cpu"
        )
    threads = wants.threads if wants.threads != "auto" else max(1, cores // procs)
    nodes = len(cluster.machines) - wants.spares
    return World(nodes=nodes, procs_per_node=procs, world_size=nodes * procs, threads=threads, device=device)


def places(machine: Machine, device: str) -> int:
    """Ranks that a machine takes."""
    if machine.slots is not None:
        return machine.slots
    return len(machine.gpus) if device == "cuda" else max(1, len(machine.cpus) // CORES_PER_RANK)
