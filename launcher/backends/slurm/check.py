"""What Slurm has to give, looked at in the order in which a submission would fail."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from launcher.backends.check import Check, fails, limits, ok, run_directory, software, warning
from launcher.backends.slurm.allocation import cluster
from launcher.backends.slurm.partitions import fitting, listed, partitions
from launcher.backends.slurm.queue import scontrol, slurm
from launcher.backends.slurm.script import render, template
from launcher.errors import BackendError
from launcher.plan import make_plan
from launcher.rundir import RunDir
from launcher.spec import Job

COMMANDS = ("sbatch", "srun", "squeue", "scontrol", "scancel", "sinfo")
OLDEST = (20, 11)
"""The first with srun --overlap."""
SAVE_S = 20
"""A training that is told to save and end should have so long; a large checkpoint takes more."""
ON_NETWORK = ("nfs", "lustre", "gpfs", "beegfs", "ceph", "fuse.", "glusterfs", "orangefs", "panfs", "wekafs", "smb", "afs")
"""Beginnings of the types of file systems that several machines can see."""
SETTING = re.compile(r"^(\w+)\s*=\s*(.*?)\s*$", re.MULTILINE)


def check(job: Job, runs: Path) -> Iterator[Check]:
    inside = "SLURM_JOB_ID" in os.environ
    yield from software(job, gpus_here=inside)
    absent = [name for name in COMMANDS if shutil.which(name) is None]
    if absent:
        remedy = "log in to a login node, or load the site's module (module load slurm); without Slurm: --backend local"
        yield fails("commands", f"not here: {', '.join(absent)}", remedy)
        return
    yield ok("commands", " ".join(COMMANDS))
    try:
        yield ok("controller", scontrol("ping").strip().replace("\n", "; "))
        yield version(slurm("sinfo", "--version"))
        yield partition(job)
    except BackendError as error:
        found = f"it does not answer ({error})"
        yield fails("controller", found, "ask the site, or wait until it is back: jobs that run go on without it")
        return
    yield allocation(job) if inside else queueable(job, runs)
    yield from run_directory(runs)
    yield shared(runs)
    yield from settings(dict(SETTING.findall(scontrol("show", "config"))))
    yield from limits()


def version(text: str) -> Check:
    """`slurm 24.11.5`, or `slurm-wlm 22.05.8` of Debian."""
    numbers = tuple(map(int, re.findall(r"\d+", text)[:2]))
    name = text.strip()
    if numbers < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        return fails("version", f"{name}, and {oldest} is the oldest that will do", "ask the site for a newer one")
    return ok("version", name)


def partition(job: Job) -> Check:
    """Those that are asked for, or the default, and how much of them is there; what a submission would refuse is told here."""
    there = partitions()
    try:
        mine = fitting(job, there)
    except BackendError as error:
        return fails("partition", str(error), "set it in the job: launch explain resources")
    if not mine:
        return warning(
            "partition", "none is asked for, and none is the default", f"set resources.slurm.partition to one of: {listed(there)}"
        )
    found = ", ".join(
        f"{each.name}: {each.idle} of {each.nodes} nodes idle; time limit {each.limit}; preemption {each.preemption}"
        for each in mine
    )
    if not any(each.up for each in mine):
        return warning("partition", f"{found}; it is down", f"jobs wait until it is up again; others: {listed(there)}")
    return ok("partition", found)


def allocation(job: Job) -> Check:
    try:
        held = cluster(job).machines
    except BackendError as error:
        return fails("allocation", str(error), "leave it and take a larger one, or set fewer resources.nodes")
    return ok("allocation", f"job {os.environ['SLURM_JOB_ID']} holds {' '.join(each.host for each in held)}")


def queueable(job: Job, runs: Path) -> Check:
    """What sbatch says of the script that would be submitted; nothing is."""
    plan = make_plan(job, cluster(job))
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "job.sbatch"
        script.write_text(render(job, plan, RunDir(runs / "test-only"), template()))
        try:
            slurm("sbatch", "--test-only", str(script))
        except BackendError as error:
            return fails(
                "submission",
                str(error),
                "set it in the job: launch explain resources.slurm",
            )
    return ok("submission", f"sbatch --test-only takes {plan.world.nodes + job.resources.spares} node(s) of it")


def shared(runs: Path) -> Check:
    """From a login node it cannot be known what the compute nodes see."""
    source, kind = mount_of(runs, Path("/proc/self/mounts").read_text())
    if kind.startswith(ON_NETWORK):
        return ok("shared", f"{runs} lies on {kind} ({source}); --allreduce proves that the nodes see it")
    return warning(
        "shared",
        f"{runs} lies on {kind}, which may be this machine's own",
        "prove it with --allreduce, or choose a --runs DIR that all nodes see",
    )


def mount_of(path: Path, mounts: str) -> tuple[str, str]:
    """(source, type) of the file system that a path lies on."""
    there = [line.split()[:3] for line in mounts.splitlines() if path.is_relative_to(line.split()[1].replace("\\040", " "))]
    source, _, kind = max(reversed(there), key=lambda mount: len(mount[1]))
    return source, kind


def settings(config: Mapping[str, str]) -> Iterator[Check]:
    """What the site has decided about ends: told, since it cannot be changed from here."""
    wait_s = seconds(config.get("KillWait", ""))
    if wait_s is not None and wait_s < SAVE_S:
        yield warning("KillWait", f"{wait_s} s from a scancel to the kill", "end runs with launch stop, not with scancel")
    elif wait_s is not None:
        yield ok("KillWait", f"{wait_s} s from a scancel to the kill")
    lost_s = seconds(config.get("SlurmdTimeout", ""))
    if lost_s is not None:
        yield ok("SlurmdTimeout", f"Slurm takes {lost_s} s to see a lost node; launcher does not wait for it (retry.lost_after)")
    tracked = config.get("ProctrackType", "")
    if tracked and "cgroup" not in tracked:
        yield warning("ProctrackType", tracked, "what a killed job leaves behind may live on: ask the site for proctrack/cgroup")


def seconds(text: str) -> int | None:
    """`300 sec` -> 300."""
    number = text.partition(" ")[0]
    return int(number) if number.isdecimal() else None
