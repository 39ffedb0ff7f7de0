"""What machines over ssh have to give: each is asked once, and each answer is a line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from launcher.backends.check import Check, fails, limits, ok, run_directory, software
from launcher.backends.hosts.asking import ask_all
from launcher.backends.hosts.inventory import named_hosts
from launcher.errors import BackendError, UsageError
from launcher.spec import Job


def check(job: Job, runs: Path) -> Iterator[Check]:
    """What lies between the hosts (a shared run directory, open ports) only a run can tell."""
    yield from software(job, gpus_here=False)
    yield from hosts(job)
    yield from run_directory(runs)
    yield from limits()


def hosts(job: Job) -> Iterator[Check]:
    try:
        named = named_hosts(job)
    except UsageError as error:
        yield fails("hosts", str(error), "resources: {hosts: [gpu1, me@gpu2:4]}")
        return
    for host, said in zip(named, ask_all(named, job, job.environment.python or sys.executable), strict=True):
        if isinstance(said, BackendError):
            found, _, remedy = str(said).partition(". ")
            yield fails("host", found, remedy or f"see 'ssh {host.destination}'")
        else:
            gpus = f", {len(said['gpus'])} GPUs" if said["gpus"] else ""
            yield ok("host", f"{host.destination}: launcher {said['launcher']}, {len(said['cpus'])} cores{gpus}")
