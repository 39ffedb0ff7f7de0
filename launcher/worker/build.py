"""From the job to what is trained: every part built once, in an order that all ranks share."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from accelerate import Accelerator
from torch import nn
from torch.optim import Optimizer

from launcher.rundir import RunDir
from launcher.spec import Job
from launcher.spec.train import Train
from launcher.worker.accelerator import make_accelerator
from launcher.worker.compiling import compile_model
from launcher.worker.data.all_targets import all_targets
from launcher.worker.data.fetch import Fetch, in_memory
from launcher.worker.data.loader import Loader
from launcher.worker.data.portions import Portion
from launcher.worker.data.splits import make_datasets, make_loader
from launcher.worker.ddp import wrap
from launcher.worker.determinism import choose_algorithms
from launcher.worker.ema import Ema
from launcher.worker.freezing import freeze
from launcher.worker.histograms import draw_graph
from launcher.worker.layers import Layers, make_layers
from launcher.worker.losses import Objective, make_objective
from launcher.worker.meter import Meter, make_meter
from launcher.worker.metrics import Beside, Measures, make_measures
from launcher.worker.metrics.seen import reading_of
from launcher.worker.network import make_model
from launcher.worker.optim import by_device, make_optimizer
from launcher.worker.randomness import DATA, key, seed_default_generators
from launcher.worker.recompute import recompute_blocks
from launcher.worker.schedules import Schedule, make_schedule
from launcher.worker.targets import built, builtin, constructed_or_bound, found
from launcher.worker.trial import try_out
from launcher.worker.world import World


@dataclass(frozen=True, kw_only=True)
class Training:
    """What is trained, and with what."""

    world: World
    job: Job
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
    measures: Measures
    ema: Ema | None
    """The weights' average, where the job wants one."""
    inputs: tuple[str, ...]
    """Names of the model's arguments: what it gets of a batch that is a mapping."""
    loaders: dict[str, Loader]
    """By split: train, val, test."""
    layers: Layers
    """Looks at what a step does to them, where the job asks for it."""
    meter: Meter
    readers: dict[str, Iterator[Portion]] = field(default_factory=dict, init=False)
    """Of splits that have been evaluated, each between two passes."""
    beside: dict[str, Beside] = field(default_factory=dict, init=False)
    """By split: what its newest evaluation found that is no number, until it is written."""

    @property
    def spec(self) -> Train:
        assert self.job.train is not None
        return self.job.train

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


def build(run: RunDir, job: Job, world: World) -> Training:
    """Everything but the state. Raises WorkerError for what cannot be built from the job."""
    spec = job.train
    assert spec is not None
    choose_algorithms(deterministic=spec.deterministic)
    accelerator = make_accelerator(spec, world)
    found("model", spec.model, "train.model")  # a mistake here is told before the data are looked at
    seed_default_generators(key(DATA, job.seed))
    datasets = make_datasets(spec, job.seed, world)
    loaders = {split: make_loader(dataset, split, spec, job.seed, run, world) for split, dataset in datasets.items()}
    model = make_model(spec, job.seed, world, loader=loaders["train"])
    freeze(model, spec.freeze, spec.train_only)
    objective = make_loss(spec, loaders["train"].fetch, world)
    optimizer = make_optimizer(
        lambda groups: built(
            "optimizer", spec.optimizer, "train.optimizer", groups, **by_device(spec.optimizer, model.parameters())
        ),
        model,
        spec.optimizer,
    )
    inputs = tuple(inspect.signature(model.forward).parameters)
    dtype = torch.float64 if spec.precision == "fp64" else None
    trial = try_out(run, model, inputs, loaders["train"], world, dtype)
    for loader in loaders.values():
        loader.fetch.stand_in = not trial.takes_no_samples
    if world.first:
        draw_graph(run, job.log, model, inputs, lambda: loaders["train"].some(2), dtype)
    if spec.activation_checkpointing:
        recompute_blocks(model)
    if spec.compile:
        compile_model(model)
    per_epoch = loaders["train"].steps_per_epoch
    schedule = make_schedule(spec, per_epoch)
    return Training(
        world=world, job=job, accelerator=accelerator, model=model,
        wrapped=wrap(accelerator, model, world, parallel=spec.parallel, some_unused=trial.some_unused),
        some_unused=trial.some_unused,
        parameters=[parameter for group in optimizer.param_groups for parameter in group["params"]],
        dtype=dtype, objective=objective, optimizer=optimizer,
        schedule=schedule, layers=make_layers(run, model, job.log, per_epoch, schedule.total_steps, first=world.first),
        meter=make_meter(model, world.device), measures=make_measures(spec.metrics, reading_of(objective)),
        ema=Ema(model, spec.ema) if spec.ema else None, inputs=inputs,
        loaders=loaders,
    )  # fmt: skip


def make_loss(spec: Train, fetch: Fetch, world: World) -> Objective:
    loss = constructed_or_bound("loss", spec.loss, "train.loss")
    if getattr(loss, "auto", False):
        loss.balance(all_targets(fetch, world))  # type: ignore[attr-defined]
    tensors = in_memory(fetch.dataset)
    targets = tensors[1] if tensors is not None and len(tensors) == 2 else None
    objective = make_objective(loss, spec.loss.target, builtin=builtin("loss", spec.loss), targets=targets)
    if isinstance(objective.loss, nn.Module):  # which also stands for a function of torch's
        objective.loss.to(world.device, torch.float64 if spec.precision == "fp64" else None)
    return objective
