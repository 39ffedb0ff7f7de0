"""`debug`: the first steps of a training in this one process, without agent, logs or checkpoints: breakpoints and prints work.

Prints a table of what each step did and where its time went.
"""

from __future__ import annotations

import math
import pdb as debugger
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor

from launcher.rundir import RunDir
from launcher.spec import Job
from launcher.worker.build import Training, build
from launcher.worker.clock import memory_mb
from launcher.worker.data.nested import on_device
from launcher.worker.ddp import call_model
from launcher.worker.errors import WorkerError
from launcher.worker.first_batch import check_fit
from launcher.worker.job import read_job
from launcher.worker.layers import Layers
from launcher.worker.losses import Objective
from launcher.worker.randomness import STEP, key, seed_default_generators
from launcher.worker.step import apply_gradient, backward
from launcher.worker.weights import begin_with
from launcher.worker.world import World, choose_device, set_threads

STEPS = 3
PHASES = ("data", "forward", "backward", "step")


@dataclass
class Row:
    """One step of the table; times in seconds."""

    loss: float = float("nan")
    norm: float = float("nan")
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, phase: str, device: torch.device) -> Iterator[None]:
        began = time.perf_counter()
        yield
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        self.seconds[phase] = time.perf_counter() - began


def debug(
    run: RunDir,
    *,
    steps: int | None = None,
    pdb: bool = False,
    anomaly: bool = False,
    gradients: bool = False,
    batch_size: int | None = None,
) -> int:
    """Exit code 0, or 1 where an exception was looked at with pdb. Raises what the steps raise, and WorkerError."""
    job = smaller(read_job(run), batch_size)
    world = World(device=choose_device(job.resources.device, 0))
    set_threads(job, world)
    try:
        with torch.autograd.set_detect_anomaly(True) if anomaly else nullcontext():
            training = build(run, job, world)
            begin_with(training.spec.weights, run, training.model, world)
            show(training, steps or (1 if gradients else STEPS))
            if gradients:
                print("\n".join(table(training.layers)), flush=True)
    except Exception as error:
        if not pdb:
            raise
        return post_mortem(error)
    return 0


def smaller(job: Job, batch_size: int | None) -> Job:
    if batch_size is None or job.train is None:
        return job
    data = job.train.data.model_copy(update={"batch_size": batch_size})
    return job.model_copy(update={"train": job.train.model_copy(update={"data": data})})


def post_mortem(error: BaseException) -> int:
    """The debugger in the frame where it was raised: of a sentence of ours, in that of the error behind it."""
    traceback.print_exception(error)
    raised = error.__cause__ if isinstance(error, WorkerError) and error.__cause__ is not None else error
    debugger.post_mortem(raised.__traceback__)
    return 1


def show(training: Training, steps: int) -> None:
    model = training.model
    parameters = sum(parameter.numel() for parameter in model.parameters())
    steps_per_epoch = training.train.steps_per_epoch or "?"
    print(f"{type(model).__name__}: {parameters:,} parameters on {training.world.device}, {steps_per_epoch} steps an epoch")
    print(f"{'step':>4}  {'loss':>10}  {'grad norm':>10}  {'memory':>9}  " + "  ".join(f"{phase:>9}" for phase in PHASES))
    portions = training.train.portions()
    for number in range(steps):
        row = Row()
        one_step(training, portions, number, row)
        times = "  ".join(f"{row.seconds[phase] * 1e3:>6.1f} ms" for phase in PHASES)
        print(
            f"{number + 1:>4}  {row.loss:>10.4f}  {row.norm:>10.4f}  {memory_mb(training.world.device):>6.0f} MB  {times}",
            flush=True,
        )
    sys.stdout.flush()


def table(layers: Layers) -> Iterator[str]:
    """What the last step did to each parameter: the gradient as backpropagation left it, and the update over the weights."""
    rows = layers.by_parameter()
    wide = max(len("layer"), *(len(each.name) for each in rows))
    yield f"\n{'layer':<{wide}}  {'shape':>16}  {'weight norm':>12}  {'gradient norm':>13}  {'update/weight':>13}"
    for each in rows:
        ratio = f"{each.update / each.weight:>13.3e}" if each.weight else f"{'-':>13}"
        shape = "x".join(map(str, each.shape)) or "1"
        yield f"{each.name:<{wide}}  {shape:>16}  {each.weight:>12.5g}  {each.gradient:>13.5g}  {ratio}"


def one_step(training: Training, portions: Iterator, number: int, row: Row) -> None:  # type: ignore[type-arg]
    """The training's step, its phases apart; micro-steps one after the other."""
    device, objective, optimizer = training.world.device, training.objective, training.optimizer
    training.schedule.apply(optimizer.param_groups, number)
    with row.timed("data", device):
        portion = next(portions)
        batches = [on_device(batch, device, training.dtype) for batch in portion.micro]
    losses, weights = [], [weight(objective, batch, len(ids)) for batch, ids in zip(batches, portion.ids, strict=True)]
    with row.timed("forward", device):
        for micro, (batch, each) in enumerate(zip(batches, weights, strict=True)):
            seed_default_generators(key(STEP, training.job.seed, number, micro, 0))
            output = call_model(training.wrapped, training.inputs, batch)
            check_fit(training, output, batch)
            losses.append(objective.total(output, batch, each))
    loss = torch.stack(losses).sum() / sum(weights)
    with row.timed("backward", device):
        backward(training, loss)
    training.layers.looking = True
    with row.timed("step", device):
        norm = apply_gradient(training, largest=math.inf)
    assert norm is not None
    row.loss, row.norm = loss.item(), norm.item()


def weight(objective: Objective, batch: object, count: int) -> float | Tensor:
    return float(count) if objective.by_samples else objective.weight(batch)
