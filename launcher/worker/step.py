"""One optimizer step: the gradient of the whole batch's mean loss, cut over ranks and micro-steps, and the update."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from launcher.rundir import RunDir
from launcher.worker import batch_norm
from launcher.worker.blame import out_of_memory
from launcher.worker.build import Training
from launcher.worker.data.nested import on_device, tensors
from launcher.worker.data.portions import Portion
from launcher.worker.ddp import call_model, check_all_took_part
from launcher.worker.first_batch import check_fit, told
from launcher.worker.randomness import STEP, key, seed_default_generators
from launcher.worker.rehearsal import rehearse
from launcher.worker.state import TrainState

Weight = float | Tensor


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Of one optimizer step. Tensors stay on their device: nothing here waits for it."""

    parts: list[tuple[Tensor, float]]
    """Of this rank's micro-batches: a mean and its weight, which multiply to a sum over samples."""
    weight: Weight
    """Of all ranks' samples."""


def take_step(run: RunDir, training: Training, state: TrainState, portion: Portion) -> tuple[Loss, Tensor | None]:
    """Changes model, optimizer and scaler; the loss, and the gradient's norm where it is clipped."""
    if state.step == 0:
        rehearse(training)
    training.schedule.apply(state.optimizer.param_groups, state.step, state.plateau["rates"])
    with training.layers.units(state.step + 1, portion.epoch + 1 if portion.last else None):
        loss = gradient(training, portion, state.step)
    if training.world.world_size > 1 and not training.some_unused:
        check_all_took_part(run, training.wrapped, training.parameters, state.step + 1)
    try:
        norm = apply_gradient(training)
    except RuntimeError as error:
        if out_of_memory(error):
            raise HalfUpdated(str(error)) from error
        raise
    return loss, norm


def apply_gradient(training: Training, *, largest: float | None = None) -> Tensor | None:
    """The update, and what it does to the layers where this step is one to look at; the norm of clip()."""
    layers, scaler = training.layers, training.accelerator.scaler
    if scaler is not None:
        scaler.unscale_(training.optimizer)
    layers.gradients()
    norm = clip(training, largest=largest)
    update(training)
    if layers.looking:
        layers.updates()
    return norm


class HalfUpdated(RuntimeError):
    """Memory ran out after the gradient: the step cannot be done anew, since the state may have changed in part."""


def update(training: Training) -> None:
    scaler, optimizer = training.accelerator.scaler, training.optimizer
    if scaler is None:
        optimizer.step()
    else:
        with training.meter.updating(scaler):
            scaler.step(optimizer)
            scaler.update()
    optimizer.zero_grad()


def gradient(training: Training, portion: Portion, step: int) -> Loss:
    """Adds the gradient of the batch's mean loss to the parameters."""
    world = training.world
    batches, counts = portion.micro, [len(ids) for ids in portion.ids]
    with told(training, batches[0], step=step):
        if len(batches) == 1:  # several are there one after the other
            batches = [on_device(batches[0], world.device, training.dtype)]
        weights, whole = weigh(training, batches, counts, portion.samples)
        parts = []
        for number, (on_host, weight) in enumerate(zip(batches, weights, strict=True)):
            batch = on_device(on_host, world.device, training.dtype)
            seed_default_generators(key(STEP, training.job.seed, step, number, world.rank))
            with nullcontext() if number + 1 == len(batches) else unsynchronized(training.wrapped):
                if counts[number] and not training.objective.is_void(weight):
                    with training.meter.computing():
                        parts.append(forward_backward(training, batch, weight, whole, first=step == 0))
                else:
                    with batch_norm.standing_in(training.model, stands_in=not counts[number]):
                        without_samples(training, batch)
    return Loss(parts=parts, weight=whole)


def weigh(training: Training, batches: list[Any], counts: list[int], samples: int) -> tuple[list[Weight], Weight]:
    """The weight of each of this rank's micro-batches, and of the whole batch."""
    if training.objective.by_samples:
        return [float(count) for count in counts], float(samples)
    device, objective = training.world.device, training.objective
    weights = [
        objective.weight(on_device(objective.weighed(batch), device, training.dtype))
        if count
        else torch.zeros((), dtype=torch.float64)
        for batch, count in zip(batches, counts, strict=True)
    ]
    whole = torch.stack([weight.to(device) for weight in weights]).sum()
    if training.world.world_size > 1:
        dist.all_reduce(whole)
    return list(weights), whole


def forward_backward(training: Training, batch: Any, weight: Weight, whole: Weight, *, first: bool) -> tuple[Tensor, float]:
    """Adds one micro-batch's part of the gradient; its loss."""
    output = call_model(training.wrapped, training.inputs, batch)
    if first:
        check_fit(training, output, batch)
    ranks = training.world.world_size  # DDP averages over ranks, where the parts are to be added
    if isinstance(weight, Tensor):
        total = training.objective.total(output, batch, weight)
        backward(training, total * torch.where(torch.as_tensor(whole) > 0, ranks / whole, 0.0))  # no target may count at all
        return total.detach(), 1.0
    mean = training.objective.mean(output, batch)
    share = weight * ranks / whole
    backward(training, mean if share == 1.0 else mean * share)
    return mean.detach(), weight


def without_samples(training: Training, batch: Any) -> None:
    """Every rank goes through the model and back as often as the others; of no samples the gradient is zero."""
    training.layers.counting = False
    output = call_model(training.wrapped, training.inputs, batch)
    training.layers.counting = True
    backward(training, torch.stack([tensor.sum() for tensor in tensors(output)]).sum() * 0.0)


def backward(training: Training, loss: Tensor) -> None:
    # Not accelerate's, which divides by a number of accumulation steps that is right for full windows of equal batches alone.
    scaler = training.accelerator.scaler
    (loss if scaler is None else scaler.scale(loss)).backward()


def unsynchronized(model: nn.Module) -> AbstractContextManager[None]:
    """Gradients are added up where they are until the last micro-step."""
    return model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext()


def clip(training: Training, *, largest: float | None = None) -> Tensor | None:
    """The norm of the whole gradient before clipping, where it is clipped by norm: to `largest`, unless the job says to what."""
    spec = training.spec
    largest = spec.clip_grad_norm or largest
    if largest is None and spec.clip_grad_value is None:
        return None
    norm = nn.utils.clip_grad_norm_(training.parameters, largest) if largest is not None else None
    if spec.clip_grad_value is not None:
        nn.utils.clip_grad_value_(training.parameters, spec.clip_grad_value)
    return norm
