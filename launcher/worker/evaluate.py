"""Evaluation: in eval mode, each sample once at any world size, loss and metrics of the whole set."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from launcher import rank
from launcher.checkpoints import checkpoint_name
from launcher.rundir import RunDir
from launcher.spec.checkpoint import Best as Monitored
from launcher.worker import batch_norm
from launcher.worker.build import Training
from launcher.worker.data.loader import Loader
from launcher.worker.data.nested import on_device
from launcher.worker.data.portions import Portion
from launcher.worker.ddp import call_model
from launcher.worker.restore import load_model_weights
from launcher.worker.state import TrainState


def evaluate(training: Training, split: str) -> dict[str, float]:
    """`split/loss` and `split/NAME` of each metric. A collective; the model is left as it was."""
    world, objective = training.world, training.objective
    total = torch.zeros((), dtype=torch.float64, device=world.device)
    whole = torch.zeros((), dtype=torch.float64, device=world.device)
    for measure in training.measures:
        measure.start()
    agreed = batch_norm.agreed(training.model, world, synchronized=training.spec.sync_batch_norm)
    with agreed, evaluating(training.model), torch.inference_mode():
        for portion in one_pass(training.loaders[split]):
            rank.pulse()
            for ids, on_host in zip(portion.ids, portion.micro, strict=True):
                if len(ids) == 0:
                    continue
                batch = on_device(on_host, world.device, training.dtype)
                output = call_model(training.model, training.inputs, batch)
                weight = float(len(ids)) if objective.by_samples else objective.weight(batch)
                total += objective.total(output, batch, weight)
                whole += weight
                for measure in training.measures:
                    measure.add(output, batch)
    loss, weight = world.sum([total.item(), whole.item()])
    values = {f"{split}/loss": loss / weight if weight else float("nan")}
    return values | {f"{split}/{measure.name}": measure.value(world) for measure in training.measures}


def one_pass(loader: Loader) -> Iterator[Portion]:
    for portion in loader.portions():
        yield portion
        if portion.last:
            return


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode, then every module's own mode again: what was frozen in eval mode stays so."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def final_test(
    run: RunDir, training: Training, state: TrainState, monitored: Monitored | None, now: dict[str, float]
) -> dict[str, float]:
    """`test/*`, once: with the weights of the best checkpoint where one is kept, else with the last. A collective.

    `now`: what the last weights were just evaluated to; they may be the best themselves.
    """
    folder = best_checkpoint(run, state, monitored, now)
    if folder is None:
        return evaluate(training, "test")
    last = {name: tensor.clone() for name, tensor in training.model.state_dict().items()}
    try:
        load_model_weights(folder, training.model)
        return evaluate(training, "test")
    finally:
        training.model.load_state_dict(last)


def best_checkpoint(run: RunDir, state: TrainState, monitored: Monitored | None, now: dict[str, float]) -> Path | None:
    """None where the weights at hand are the best."""
    best = state.best.get(monitored.monitor) if monitored else None
    if monitored is None or best is None:
        return None
    sign = 1 if monitored.mode == "min" else -1
    if sign * now.get(monitored.monitor, sign * math.inf) < sign * best["value"]:
        return None
    return run.checkpoints / checkpoint_name(best["step"])
