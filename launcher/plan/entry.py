"""What a rank executes, and what is imported for it beforehand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from launcher.plan.model import Entry
from launcher.rundir import PLACEHOLDER
from launcher.spec import Job
from launcher.spec.catalogue import CATALOGUE, Kind
from launcher.spec.target import Target
from launcher.spec.train import Train

WORKER = "launcher.worker"
FIRST_OPTIMIZER = "launcher.worker.first_optimizer"


def make_entry(job: Job, cwd: str) -> Entry:
    """`cwd`: the job's workdir, or its copy in the run directory."""
    engine, restarts = job.resources.agent, job.retry.max_restarts
    if job.train:
        return Entry(kind="worker", target=WORKER, argv=(PLACEHOLDER,), cwd=cwd, preload=preloads(job.train), stop_grace_s=30.0,
                     engine=engine, max_restarts=restarts)  # fmt: skip
    run = job.run
    assert run is not None
    kind: Literal["script", "module", "program"]
    if run.script is not None:
        kind, target, args = "script", str(Path(cwd) / run.script), run.args
    elif run.module is not None:
        kind, target, args = "module", run.module, run.args
    else:
        assert run.program is not None
        kind, target, args = "program", run.program[0], [*run.program[1:], *run.args]
    # Not FIRST_OPTIMIZER: whether a script makes one is not known, and those that make none would start a second later.
    preload = () if kind == "program" else ("torch", "torch.distributed")
    return Entry(kind=kind, target=target, argv=tuple(args), cwd=cwd, preload=preload, stop_grace_s=run.stop_grace.seconds,
                 engine=engine, max_restarts=restarts)  # fmt: skip


def targets(train: Train) -> Iterator[tuple[Kind, Target]]:
    """Every target of a training with its kind."""
    data = train.data
    single: list[tuple[Kind, Target | None]] = [
        ("model", train.model), ("loss", train.loss), ("optimizer", train.optimizer), ("schedule", train.schedule),
        ("data", data.train), ("data", data.val), ("data", data.test), ("collate", data.collate),
        ("sampling", data.sampling), ("smote", data.smote),
    ]  # fmt: skip
    yield from ((kind, target) for kind, target in single if target is not None)
    yield from (("augment", target) for target in data.augment)
    yield from (("metric", target) for target in train.metrics)


def preloads(train: Train) -> tuple[str, ...]:
    """What the fork server imports once for all ranks and attempts. A user's own modules are left to the ranks (CUDA)."""
    needed = ["torch", "torch.distributed", FIRST_OPTIMIZER, "launcher.worker.train"]
    for kind, target in targets(train):
        entry = CATALOGUE.get((kind, target.target))
        needed += entry.needs if entry else ()
    return tuple(dict.fromkeys(needed))
