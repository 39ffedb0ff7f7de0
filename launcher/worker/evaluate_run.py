"""`eval`: one split of a run's data under one of its checkpoints."""

from __future__ import annotations

import json
import sys
from typing import Any

from launcher.rundir import RunDir
from launcher.spec import Job
from launcher.worker.build import build
from launcher.worker.chosen import choose
from launcher.worker.errors import WorkerError
from launcher.worker.evaluate import evaluate
from launcher.worker.history import finite_or_null
from launcher.worker.restore import load_model_weights
from launcher.worker.world import World


def evaluate_run(run: RunDir, job: Job, world: World, *, split: str, checkpoint: str | None, as_json: bool) -> int:
    """Prints the loss and the metrics; works at any world size. Raises WorkerError."""
    assert job.train is not None
    if getattr(job.train.data, split) is None:
        raise WorkerError(f"the job has no train.data.{split} to evaluate", kind="spec")
    chosen = world.by_first(lambda: choose(run, job, checkpoint))
    training = build(run, as_it_is(job, split), world)
    if checkpoint is None:  # a run that goes on may have removed it since
        chosen = world.by_first(lambda: choose(run, job, None))
    load_model_weights(run.checkpoints / str(chosen), training.model)
    values = evaluate(training, split)
    if world.first:
        print(f"{run.id}, {chosen}, on train.data.{split}:", file=sys.stderr)
        tables = {f"{split}/{name}": found for name, found in training.beside[split].tables.items()}
        print(json.dumps(finite_or_null(values) | tables) if as_json else table(values))
    return 0


def as_it_is(job: Job, split: str) -> Job:
    """The training set, where it is evaluated, has each sample once and unchanged. Elsewhere a loss may weigh by its classes, and
    those that smote makes count."""
    assert job.train is not None
    plain: dict[str, Any] = {"augment": [], "sampling": None, "drop_last": False, "shuffle": False}
    plain |= {"smote": None} if split == "train" else {}
    data = job.train.data.model_copy(update=plain)
    return job.model_copy(update={"train": job.train.model_copy(update={"data": data})})


def table(values: dict[str, float]) -> str:
    width = max(map(len, values))
    return "\n".join(f"{key:<{width}}  {value:.6g}" for key, value in values.items())
