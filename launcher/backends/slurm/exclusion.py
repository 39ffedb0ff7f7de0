"""Hosts that a job is not to be given: those that its user rules out, and those that failed lately, if it can do without them.

With too few nodes left Slurm refuses a job, and holds one that waits already for ever. Which nodes a job can use (features, GPUs,
memory, reservations) Slurm alone knows: it is asked.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence

from launcher.backends.distrust import distrusted, remembered
from launcher.backends.slurm.queue import asked, scontrol, slurm
from launcher.spec import Job


def left_out(job: Job, script: str, without: Sequence[str] = (), *, env: Mapping[str, str] = os.environ) -> list[str]:
    """The hosts `without` and those that failed lately; none where the job could not run on the others. Raises BackendError."""
    there = partition_hosts(job)
    without = without if job.resources.slurm.nodelist is None else ()  # the user's own choice
    bad = list(dict.fromkeys([*without, *distrusted(remembered(time.time()), there)]))
    if not bad or could_run(script, exclusion(job, bad), env):
        return bad
    if could_run(script, exclusion(job), env):
        return []
    # Something else forbids it now: a limit on the jobs of a user, or other nodes that are down.
    wants = job.resources
    return bad if len(set(there) - set(bad) - ruled_out(job)) >= wants.fewest + wants.spares else []


def exclusion(job: Job, hosts: Sequence[str] = (), *, option: str = "--exclude") -> tuple[str, ...]:
    """An option, if need be: of these hosts and the user's own."""
    names = [*filter(None, (job.resources.slurm.exclude,)), *hosts]
    return (f"{option}={','.join(names)}",) if names else ()


def could_run(script: str, options: Sequence[str], env: Mapping[str, str]) -> bool:
    """Some time, says Slurm. Raises BackendError where it does not answer."""
    return asked(("sbatch", "--test-only", *options), text=script, env=env).returncode == 0


def partition_hosts(job: Job) -> list[str]:
    """Each once. Raises BackendError."""
    name = job.resources.slurm.partition or os.environ.get("SLURM_JOB_PARTITION")
    rows = [row.split() for row in slurm("sinfo", "-h", "-N", "-o", "%N %P", *(["-p", name] if name else [])).splitlines()]
    default = [row for row in rows if row[1].endswith("*")]
    return list(dict.fromkeys(row[0] for row in (rows if name or not default else default)))


def ruled_out(job: Job) -> set[str]:
    """By the user. Raises BackendError."""
    names = job.resources.slurm.exclude
    return set(scontrol("show", "hostnames", names).split()) if names else set()


def told(hosts: Sequence[str]) -> str:
    """Who is left out, and what for."""
    what = {each.host: each.what for each in remembered(time.time())}
    return ", ".join(f"{host} ({what[host]})" if host in what else host for host in hosts)
