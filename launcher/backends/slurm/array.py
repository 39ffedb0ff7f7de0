"""Many trainings of one job as an array: how many of them fit at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator

from launcher.backends.slurm.queue import slurm
from launcher.spec import Job

GENERATIONS = 4
"""Tasks for each that runs at a time: where one is lost or reaches its time limit, the next takes its place."""
MOST = 1000
"""Tasks of an array that a site allows unless it says otherwise (MaxArraySize, 1001)."""
AWAY = ("down", "drain", "fail", "unknown")
"""Beginnings of the states of nodes that take no job."""
GPUS = re.compile(r"gpu:(?:[^:,()]+:)?(\d+)")


def tasks(at_a_time: int) -> int:
    return max(at_a_time, min(GENERATIONS * at_a_time, MOST))


def tasks_waiting(number: str) -> int:
    """Tasks of an array that have not begun. Raises BackendError."""
    return len(slurm("squeue", "--noheader", "--array", f"--jobs={number}", "--states=PENDING", "--format=%K").split())


def at_a_time(job: Job) -> int:
    """Trainings of this job that its partition's nodes have room for, those that are down apart. Raises BackendError."""
    rows = [row.split("|") for row in slurm("sinfo", "--noheader", "--Node", "--format=%N|%c|%G|%P|%T").splitlines()]
    names = (job.resources.slurm.partition or "").split(",")
    mine = [row for row in rows if row[3].rstrip("*") in names or (names == [""] and row[3].endswith("*"))]
    there = [row for row in mine or rows if not row[4].startswith(AWAY)]
    nodes = {host: each_holds(job, int(cores), gpus) for host, cores, gpus, *_ in there or rows}
    wants = job.resources.fewest + job.resources.spares
    return sum(nodes.values()) if wants == 1 else len(nodes) // wants


def each_holds(job: Job, cores: int, gpus: str) -> int:
    """Trainings beside each other on a node, by what they ask of it; one that asks for nothing is taken to want it all."""
    return max(1, min(shares(job, cores, gpus), default=1))


def shares(job: Job, cores: int, gpus: str) -> Iterator[int]:
    slurm = job.resources.slurm
    if slurm.gpus_per_node:
        yield sum(map(int, GPUS.findall(gpus))) // slurm.gpus_per_node
    if slurm.cpus_per_proc:
        ranks = job.resources.procs_per_node if job.resources.procs_per_node != "auto" else slurm.gpus_per_node or 1
        yield cores // (ranks * slurm.cpus_per_proc)
