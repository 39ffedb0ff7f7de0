"""Evaluation: in eval mode, each sample once at any world size, loss and metrics of the whole set."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from launcher import checkpoints, rank
from launcher.rundir import RunDir
from launcher.spec.checkpoint import Best as Monitored
from launcher.worker import batch_norm
from launcher.worker.build import Training
from launcher.worker.data.nested import on_device
from launcher.worker.data.order import Indices
from launcher.worker.data.portions import Portion
from launcher.worker.ddp import call_model
from launcher.worker.ema import in_place
from launcher.worker.first_batch import check_fit, told
from launcher.worker.modes import evaluating
from launcher.worker.restore import load_model_weights
from launcher.worker.state import better


def evaluate(training: Training, split: str) -> dict[str, float]:
    """`split/loss` and `split/NAME` of each metric; what is no number stands in `training.beside`. A collective.

    The model is left as it was. Raises WorkerError for what does not fit together.
    """
    world = training.world
    total = torch.zeros((), dtype=torch.float64, device=world.device)
    whole = torch.zeros((), dtype=torch.float64, device=world.device)
    training.measures.start()
    together = batch_norm.always_synchronized(training.model)
    # Not inference_mode: what a model keeps of an evaluation must not be unusable in training.
    with batch_norm.agreed(training.model, world), evaluating(training.model), torch.no_grad():
        for portion in one_pass(training, split):
            rank.pulse()
            for ids, on_host in zip(portion.ids, portion.micro, strict=True):
                if len(ids) == 0 and not together:
                    continue
                with told(training, on_host, split=split, step=None):
                    of_batch, weight = judged(training, on_host, ids)
                total += of_batch
                whole += weight
    loss, weight = world.sum([total.item(), whole.item()])
    values = training.measures.values(world)
    training.beside[split] = training.measures.beside(world)
    return {f"{split}/loss": loss / weight if weight else math.nan} | {f"{split}/{name}": each for name, each in values.items()}


def judged(
    training: Training, on_host: Any, ids: Indices, *, first_of: str | None = None
) -> tuple[float | Tensor, float | Tensor]:
    """One batch's loss times its weight, and its weight; metrics see it. `first_of`: the split whose fit is looked at."""
    batch = on_device(on_host, training.world.device, training.dtype)
    with batch_norm.standing_in(training.model, stands_in=len(ids) == 0):
        output = call_model(training.model, training.inputs, batch)
    if len(ids) == 0:
        return 0.0, 0.0
    if first_of is not None:
        check_fit(training, output, batch, split=first_of)
    objective = training.objective
    weight = objective.weight(batch) if objective.has_weight else float(len(ids))
    total = objective.total(output, batch, weight)
    training.measures.add(output, batch, int(ids[0]), first=first_of is not None)
    return total, weight


def evaluate_now(training: Training, split: str) -> dict[str, float]:
    """As a training goes on: the averaged weights where the job says so. A collective."""
    with in_place(training.ema):
        return evaluate(training, split)


def one_pass(training: Training, split: str) -> Iterator[Portion]:
    """One reader serves all passes: its loader processes are started once, and read ahead between evaluations."""
    if split not in training.readers:
        training.readers[split] = training.loaders[split].portions()
    for portion in training.readers[split]:
        yield portion
        if portion.last:
            return


def final_test(run: RunDir, training: Training, now: dict[str, float]) -> dict[str, float]:
    """`test/*`, once: with the weights of the best checkpoint where one is kept, else with the last. A collective.

    `now`: what the last weights were just evaluated to; they may be the best themselves. Rank 0 writes no checkpoint meanwhile.
    """
    folder = best_checkpoint(run, training, now)
    if folder is None:
        return evaluate_now(training, "test")
    last = copy.deepcopy(training.model.state_dict())
    try:
        load_model_weights(folder, training.model)
        return evaluate(training, "test")
    finally:
        training.model.load_state_dict(last)


def best_checkpoint(run: RunDir, training: Training, now: dict[str, float]) -> Path | None:
    """None where the weights at hand are the best. A collective: rank 0 verifies and decides."""
    world, monitored = training.world, training.job.keep_best
    if monitored is None:
        return None
    name = world.by_first(lambda: best_before(run, monitored, now))
    return run.checkpoints / name if name is not None else None


def best_before(run: RunDir, monitored: Monitored, now: dict[str, float]) -> str | None:
    """The name of the best checkpoint, unless what is measured now is better."""
    best = checkpoints.best(run, monitored.monitor, monitored.mode)
    if best is None:
        return None
    value = best.manifest["metrics"][monitored.monitor]
    return None if better(now.get(monitored.monitor, math.nan), value, monitored.mode) else best.path.name
