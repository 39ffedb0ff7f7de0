"""Agents as tasks of one srun step, whose streams carry the messages of them all."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from launcher.backends.carrier import start_carrier
from launcher.backends.slurm.limit import fields_of
from launcher.backends.slurm.queue import scontrol
from launcher.plan import Node, Plan


def shell(node: Node, job: str | None, command: Sequence[str], *, terminal: bool) -> tuple[str, ...]:
    """A step beside that of the agents, which takes nothing from them. Raises BackendError."""
    beside = ("--overlap", "--nodes=1", "--ntasks=1", "--cpu-bind=none", "--mem=0", "--gres=none")
    if job is not None and "_" in job:  # of an array's task srun knows its own number alone
        job = fields_of(scontrol("show", "job", "-o", job))["JobId"]
    return ("srun", f"--jobid={job}", *beside, f"--nodelist={node.host}", *(("--pty",) if terminal else ()), *command)


def start_agents(plan: Plan, nodes: Sequence[Node], log: Path) -> Iterator[tuple[subprocess.Popen[bytes], Sequence[Node]]]:
    """Tasks are numbered in the order of the allocation's nodes, which is the plan's. Raises BackendError."""
    ordered = sorted(nodes, key=lambda node: node.index)
    *agent, _ = ordered[0].argv  # ... --id N
    ids = ",".join(str(node.index) for node in ordered)
    where = [f"--nodes={len(ordered)}", f"--ntasks={len(ordered)}", f"--nodelist={','.join(node.host for node in ordered)}"]
    yield start_carrier([*plan.carrier, *where, *agent, ids], log), tuple(ordered)
