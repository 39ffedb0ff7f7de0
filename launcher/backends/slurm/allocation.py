"""What there is to run on: inside an allocation what it holds, outside what will be asked for."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator

from launcher.backends.slurm.queue import scontrol
from launcher.errors import BackendError
from launcher.plan import Cluster, Machine
from launcher.spec import Job

SPANS = re.compile(r"(\d+)(?:\(x(\d+)\))?")
ADDRESS = re.compile(r"\bNodeName=(\S+).*?\bNodeAddr=(\S+)")


def cluster(job: Job) -> Cluster:
    """Raises BackendError where the allocation is too small, or Slurm does not answer."""
    return held(job) if "SLURM_JOB_ID" in os.environ else asked_for(job)


def held(job: Job) -> Cluster:
    """Of salloc or sbatch: as many of its nodes as the job wants."""
    wants = job.resources
    hosts = scontrol("show", "hostnames", os.environ["SLURM_JOB_NODELIST"]).split()
    least, most = wants.fewest + wants.spares, wants.most + wants.spares
    if len(hosts) < least:
        raise BackendError(
            f"the job wants {least} nodes, and job {os.environ['SLURM_JOB_ID']} has {len(hosts)}: {' '.join(hosts)}. "
            f"Ask for --nodes={least}"
        )
    hosts = hosts[:most]
    addresses = dict(ADDRESS.findall(scontrol("show", "node", "-o", ",".join(hosts))))
    cores = list(cpus_per_node(os.environ["SLURM_JOB_CPUS_PER_NODE"]))[: len(hosts)]
    gpus = () if wants.device == "cpu" else tuple(map(str, range(gpus_here())))
    machines = tuple(
        Machine(host=host, address=addresses.get(host, host), cpus=tuple(range(count)), gpus=gpus)
        for host, count in zip(hosts, cores, strict=True)
    )
    return Cluster(backend="slurm", machines=machines, python=interpreter(job), carrier=srun(min(cores)))


def asked_for(job: Job) -> Cluster:
    wants = job.resources
    count = wants.most + wants.spares
    ranks = wants.procs_per_node if wants.procs_per_node != "auto" else wants.slurm.gpus_per_node or 1
    cores = ranks * (wants.slurm.cpus_per_proc or 1)
    gpus = () if wants.device == "cpu" else tuple(map(str, range(wants.slurm.gpus_per_node or 0)))
    machines = tuple(
        Machine(host=f"node-{index}", address=f"node-{index}", cpus=tuple(range(cores)), gpus=gpus) for index in range(count)
    )
    return Cluster(backend="slurm", machines=machines, python=interpreter(job), provisional=True, carrier=srun(cores))


def interpreter(job: Job) -> str:
    return job.environment.python or sys.executable


def srun(cores: int) -> tuple[str, ...]:
    """Options of the step that carries the agents.

    Since 22.05 srun inherits no --cpus-per-task; --overlap lets a later step (a new agent, a shell) in beside it.
    """
    return (
        "srun", "--no-kill", "--kill-on-bad-exit=0", "--ntasks-per-node=1", "--overlap", "--cpu-bind=none", "--mem=0",
        f"--cpus-per-task={cores}", "--export=ALL", "--input=all",
    )  # fmt: skip


def cpus_per_node(text: str) -> Iterator[int]:
    """`2(x3),4` -> 2 2 2 4."""
    for count, times in SPANS.findall(text):
        yield from [int(count)] * int(times or 1)


def gpus_here() -> int:
    """On the batch host; the nodes of a job have the same number."""
    return int(re.sub(r"\D", "", os.environ.get("SLURM_GPUS_ON_NODE", "")) or 0)
