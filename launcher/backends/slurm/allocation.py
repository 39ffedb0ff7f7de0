"""What there is to run on: inside an allocation what it holds, outside what will be asked for."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator

from launcher.backends.carrier import agent_command, interpreter, mounts, set_up
from launcher.backends.slurm.array import at_a_time
from launcher.backends.slurm.queue import scontrol
from launcher.errors import BackendError
from launcher.plan import Cluster, Machine
from launcher.spec import Job

SPANS = re.compile(r"(\d+)(?:\(x(\d+)\))?")
SET_UP = "LAUNCHER_SET_UP"
"""In a job's environment: its script has run the shell lines."""
ADDRESS = re.compile(r"\bNodeName=(\S+).*?\bNodeAddr=(\S+)")


def cluster(job: Job) -> Cluster:
    """Raises BackendError where the allocation is too small, or Slurm does not answer."""
    return held(job) if "SLURM_JOB_ID" in os.environ else asked_for(job)


def allocated() -> int | None:
    """Nodes of the allocation that this process runs in, if any."""
    return int(os.environ["SLURM_JOB_NUM_NODES"]) if "SLURM_JOB_ID" in os.environ else None


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
        Machine(host=host, address=addresses.get(host, host), cpus=tuple(range(count)), gpus=gpus, agent=agent(job, index))
        for index, (host, count) in enumerate(zip(hosts, cores, strict=True))
    )
    return described(job, machines, min(cores), provisional=False)


def asked_for(job: Job) -> Cluster:
    wants = job.resources
    count = wants.most + wants.spares
    ranks = wants.procs_per_node if wants.procs_per_node != "auto" else wants.slurm.gpus_per_node or 1
    cores = ranks * (wants.slurm.cpus_per_proc or 1)
    gpus = () if wants.device == "cpu" else tuple(map(str, range(wants.slurm.gpus_per_node or 0)))
    machines = tuple(
        Machine(host=f"node-{index}", address=f"node-{index}", cpus=tuple(range(cores)), gpus=gpus, agent=agent(job, index))
        for index in range(count)
    )
    return described(job, machines, cores, provisional=True, at_a_time=at_a_time(job) if job.sweep is not None else None)


def described(job: Job, machines: tuple[Machine, ...], cores: int, *, provisional: bool, at_a_time: int | None = None) -> Cluster:
    outside = sys.executable if job.environment.container else None
    python = interpreter(job, sys.executable)
    return Cluster(
        backend="slurm", machines=machines, python=python, outside=outside, provisional=provisional, at_a_time=at_a_time,
        carrier=(*by_hand(job, provisional=provisional), *srun(cores), *pyxis(job)),
    )  # fmt: skip


def agent(job: Job, index: int) -> tuple[str, ...]:
    return agent_command(job, interpreter(job, sys.executable), index)


def by_hand(job: Job, *, provisional: bool) -> tuple[str, ...]:
    """The job's shell lines, where no script of ours has run them: in an allocation of the user's own."""
    return () if provisional or os.environ.get(SET_UP) else set_up(job)


def pyxis(job: Job) -> tuple[str, ...]:
    """Options that this plug-in gives to srun."""
    spec = job.environment
    if spec.container is None or spec.runtime != "pyxis":
        return ()
    return (f"--container-image={spec.container}", f"--container-mounts={','.join(mounts(job))}")


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
