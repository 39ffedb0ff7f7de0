"""From the job to what is trained: every part built once, in an order that all ranks share."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import GradientAccumulationPlugin
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import IterableDataset, default_collate

from launcher.load import load_job
from launcher.rundir import RunDir, read_json
from launcher.spec import Job
from launcher.spec.target import Target
from launcher.spec.train import Train
from launcher.spec.values import Length
from launcher.worker import batch_norm
from launcher.worker.data.fetch import Fetch, in_memory
from launcher.worker.data.loader import Loader, MapLoader, Reading, StreamLoader
from launcher.worker.data.order import Order
from launcher.worker.data.portions import Cut, Epochs, Portion
from launcher.worker.ddp import wrap
from launcher.worker.errors import WorkerError
from launcher.worker.losses import Objective, make_objective
from launcher.worker.metrics import Measure, make_measures
from launcher.worker.optim import make_optimizer
from launcher.worker.randomness import seed_model
from launcher.worker.schedules import Schedule
from launcher.worker.targets import arguments, built, builtin, constructed_or_bound, found
from launcher.worker.trial import try_out
from launcher.worker.world import World, first_on_node


@dataclass(frozen=True, kw_only=True)
class Training:
    """What is trained, and with what."""

    world: World
    seed: int
    spec: Train
    accelerator: Accelerator
    model: nn.Module
    """The user's own."""
    wrapped: nn.Module
    """The same, synchronising gradients where there are several ranks."""
    some_unused: bool
    """Whether parameters without a part in a step are looked for."""
    parameters: list[nn.Parameter]
    """Those that learn."""
    dtype: torch.dtype | None
    """Of floating inputs; None leaves theirs."""
    objective: Objective
    optimizer: Optimizer
    schedule: Schedule
    measures: list[Measure]
    inputs: tuple[str, ...]
    """Names of the model's arguments: what it gets of a batch that is a mapping."""
    loaders: dict[str, Loader]
    """By split: train, val, test."""
    readers: dict[str, Iterator[Portion]] = field(default_factory=dict, init=False)
    """Of splits that have been evaluated, each between two passes."""

    @property
    def train(self) -> Loader:
        return self.loaders["train"]

    @property
    def per_epoch(self) -> int | None:
        """Optimizer steps in an epoch; None where the data's length is not known."""
        return self.train.steps_per_epoch

    @property
    def total_steps(self) -> int | None:
        return self.schedule.total_steps


def read_job(run: RunDir) -> Job:
    """The run's job, its workdir importable. Raises WorkerError where the directory is none of a training."""
    if not run.job.is_file():
        raise WorkerError(
            f"{run.path} holds no job.yaml: it is not a run directory. Make one with 'launch --prepare SPEC'", kind="spec"
        )
    job = load_job(run.job)
    if job.train is None:
        raise WorkerError(f"{run.job} has no train: its program is started by 'launch', not by this worker", kind="spec")
    if job.workdir not in sys.path:
        sys.path.insert(0, job.workdir)
    return job


def build(run: RunDir, job: Job, world: World) -> Training:
    """Everything but the state. Raises WorkerError for what cannot be built from the job."""
    spec = job.train
    assert spec is not None
    accelerator = make_accelerator(spec, world)
    model = make_model(job, spec, world)
    datasets = make_datasets(spec, world)
    loaders = {split: make_loader(dataset, split, run, job, world) for split, dataset in datasets.items()}
    objective = make_loss(spec, datasets["train"], world)
    optimizer = make_optimizer(
        lambda groups: built("optimizer", spec.optimizer, "train.optimizer", groups), model, spec.optimizer
    )
    inputs = tuple(inspect.signature(model.forward).parameters)
    dtype = torch.float64 if spec.precision == "fp64" else None
    trial = try_out(run, model, inputs, loaders["train"], world, dtype)
    for loader in loaders.values():
        loader.fetch.stand_in = not trial.takes_no_samples
    return Training(
        world=world, seed=job.seed, spec=spec, accelerator=accelerator, model=model,
        wrapped=wrap(accelerator, model, world, some_unused=trial.some_unused),
        some_unused=trial.some_unused,
        parameters=[parameter for group in optimizer.param_groups for parameter in group["params"]],
        dtype=dtype, objective=objective, optimizer=optimizer,
        schedule=make_schedule(spec, loaders["train"].steps_per_epoch), measures=make_measures(spec.metrics), inputs=inputs,
        loaders=loaders,
    )  # fmt: skip


def splits(spec: Train) -> list[tuple[str, Target]]:
    named = (("train", spec.data.train), ("val", spec.data.val), ("test", spec.data.test))
    return [(split, target) for split, target in named if target is not None]


def make_accelerator(spec: Train, world: World) -> Accelerator:
    """Device, precision and gradient synchronisation."""
    precision = choose_precision(spec.precision, world.device)
    ddp = DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)
    with unranked() if world.world_size == 1 else nullcontext():
        return Accelerator(
            cpu=world.device.type == "cpu", mixed_precision=precision, kwargs_handlers=[ddp],
            gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        )  # fmt: skip


@contextmanager
def unranked() -> Iterator[None]:
    """Without LOCAL_RANK, which torchrun sets for a single process too, and which accelerate takes for several."""
    kept = os.environ.pop("LOCAL_RANK", None)
    try:
        yield
    finally:
        if kept is not None:
            os.environ["LOCAL_RANK"] = kept


def choose_precision(wanted: str, device: torch.device) -> str:
    """In accelerate's words. Raises WorkerError."""
    if wanted == "auto":
        return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "no"
    if wanted == "fp16" and device.type == "cpu":
        raise WorkerError("train.precision: fp16 needs a GPU; on the CPU write bf16 or fp32", kind="spec")
    return {"fp32": "no", "fp64": "no"}.get(wanted, wanted)


def make_model(job: Job, spec: Train, world: World) -> nn.Module:
    """The same weights on every rank, and those that a module written by hand has after torch.manual_seed(seed)."""
    target = spec.model
    make = found("model", target, "train.model")
    seed_model(job.seed)
    model = built("model", target, "train.model")
    if not isinstance(model, nn.Module):
        raise WorkerError(f"train.model: {make} gives a {type(model).__name__}, not a torch.nn.Module", kind="spec")
    ranks = world.world_size if spec.sync_batch_norm else 1
    left = batch_norm.synchronize(model, ranks=ranks)
    if left and ranks > 1 and world.first:
        print(
            f"train.sync_batch_norm: {', '.join(left)} of train.model ({target.target}) have a forward of their own: there each "
            "rank normalises its own samples",
            flush=True,
        )
    return model.to(world.device, torch.float64 if spec.precision == "fp64" else None)


def make_datasets(spec: Train, world: World) -> dict[str, Any]:
    """By split; built on one rank per file system before the others, since it may download or unpack."""
    wanted = splits(spec)
    for split, target in wanted:
        found("data", target, f"train.data.{split}")  # imports, which may take long, side by side
    with first_on_node(world):
        return {
            split: checked(built("data", target, f"train.data.{split}"), target, f"train.data.{split}")
            for split, target in wanted
        }


def checked(dataset: Any, target: Target, field: str) -> Any:
    """Raises WorkerError for what is no data set, or an empty one."""
    if isinstance(dataset, IterableDataset) or (hasattr(dataset, "__iter__") and not hasattr(dataset, "__getitem__")):
        return dataset
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        kind = type(dataset).__name__
        raise WorkerError(
            f"{field}: {target.target} gives a {kind}, which has neither a length and items nor is iterable", kind="spec"
        )
    if len(dataset) == 0:
        raise WorkerError(f"{field}: {target.target} is empty: there is nothing to learn from or to evaluate", kind="spec")
    return dataset


def make_loader(dataset: Any, split: str, run: RunDir, job: Job, world: World) -> Loader:
    assert job.train is not None
    data, training = job.train.data, split == "train"
    workers, pin = data.num_workers, data.pin_memory if data.pin_memory != "auto" else world.device.type == "cuda"
    reading = Reading(num_workers=workers, prefetch=data.prefetch, pin_memory=pin and world.device.type == "cuda")
    cut = Cut(batch_size=data.batch_size, micro_batch_size=micro_batch_size(job.train, run, world), rank=world.rank,
              world_size=world.world_size)  # fmt: skip
    augment = [
        constructed_or_bound("augment", target, f"train.data.augment[{number}]") for number, target in enumerate(data.augment)
    ]
    fetch = Fetch(dataset, job.seed, world.rank, f"train.data.{split}", augment if training else (), make_collate(data.collate))
    drop_last, limit = training and data.drop_last, job.train.limit_batches
    if not hasattr(dataset, "__len__") or isinstance(dataset, IterableDataset):
        return StreamLoader(fetch=fetch, cut=cut, drop_last=drop_last, limit_batches=limit, reading=reading, repeats=not training)
    order = Order(len(dataset), job.seed, shuffle=training and data.shuffle)
    epochs = Epochs(order=order, cut=cut, drop_last=drop_last, limit_batches=limit)
    if epochs.steps == 0:
        raise WorkerError(
            f"train.data.{split} has {len(dataset)} samples, fewer than a batch of {data.batch_size}, and drop_last leaves "
            "the rest out: there is no batch. Write a smaller batch_size, or drop_last: false",
            kind="spec",
        )
    return MapLoader(fetch=fetch, epochs=epochs, reading=reading, repeats=not training)


def micro_batch_size(spec: Train, run: RunDir, world: World) -> int:
    """Of a rank: its whole share, or what an attempt before this one came to when memory ran out."""
    share = -(-spec.data.batch_size // world.world_size)
    if spec.data.micro_batch_size != "auto":
        return min(spec.data.micro_batch_size, share)
    found_out = read_json(run.micro_batch) or {}
    return min(share, int(found_out.get("micro_batch_size", share)))


def make_collate(target: Target | None) -> Callable[[list[Any]], Any]:
    return default_collate if target is None else constructed_or_bound("collate", target, "train.data.collate")


def make_loss(spec: Train, dataset: Any, world: World) -> Objective:
    loss = constructed_or_bound("loss", spec.loss, "train.loss")
    if isinstance(loss, nn.Module):
        loss.to(world.device, torch.float64 if spec.precision == "fp64" else None)
    tensors = in_memory(dataset)
    targets = tensors[1] if tensors is not None and len(tensors) == 2 else None
    return make_objective(loss, spec.loss.target, builtin=builtin("loss", spec.loss), targets=targets)


def make_schedule(spec: Train, per_epoch: int | None) -> Schedule:
    total = spec.max_steps if spec.max_steps is not None else None if per_epoch is None else per_epoch * (spec.epochs or 0)
    target = spec.schedule
    if target is None:
        return Schedule(total_steps=total)

    def steps(length: Length) -> int:
        try:
            return length.steps(per_epoch=per_epoch, total=total)
        except ValueError as error:
            raise WorkerError(f"train.schedule: {error}", kind="spec") from None

    # In a short run 1% may round to 0 steps, by which nothing can be divided.
    factor, given = found("schedule", target, "train.schedule"), arguments(target, lambda length: max(1, steps(length)))
    return Schedule(
        factor=lambda step, total_steps: factor(step, total_steps, **given),
        total_steps=total, warmup_steps=steps(target.warmup) if target.warmup else 0,
    )  # fmt: skip
