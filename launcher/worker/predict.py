"""`predict`: a run's outputs for data, one row for each sample, in order."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from launcher.rundir import RunDir
from launcher.spec import Job
from launcher.spec.train import Train
from launcher.worker.data.loader import Loader
from launcher.worker.data.nested import on_device
from launcher.worker.data.new import New, new_data
from launcher.worker.data.splits import make_dataset, make_loader
from launcher.worker.ddp import call_model
from launcher.worker.errors import WorkerError
from launcher.worker.trained import trained_model
from launcher.worker.world import World, choose_device, set_threads
from launcher.worker.written import refuse_missing_folder, refuse_other_endings, write

SPLITS = ("train", "val", "test")
OF_CLASSES = ("cross_entropy", "nll", "focal")
"""Losses whose outputs are one number for each class."""


def predict(run: RunDir, job: Job, *, data: str, out: Path, checkpoint: str | None) -> int:
    """`data`: a split of the job's, a .csv, .npz or .safetensors file, or a folder of pictures. Raises WorkerError."""
    assert job.train is not None
    refuse_other_endings(out)
    refuse_missing_folder(out)
    world = World(device=choose_device(job.resources.device, 0))
    set_threads(job, world)
    model = trained_model(run, job, checkpoint, world.device)
    names = tuple(inspect.signature(model.forward).parameters)
    spec, found = unaltered(job.train), source(job, data, names)
    if data not in SPLITS:
        spec = spec.model_copy(update={"data": spec.data.model_copy(update={"collate": None})})
    loader = make_loader(found.dataset, "val", spec, job.seed, run, world)
    outputs = joined([output.cpu() for output in one_pass(model, names, loader, world, spec)])
    classes = outputs.argmax(1) if spec.loss.target in OF_CLASSES and outputs.ndim == 2 else None
    write(out, outputs, classes=classes, names=found.names)
    print(f"{out}: {len(outputs):,} rows of {data} by {run.id}")
    return 0


def source(job: Job, data: str, names: tuple[str, ...]) -> New:
    assert job.train is not None
    if data not in SPLITS:
        return new_data(job.train, data, names)
    return New(make_dataset(job.train, data))


def unaltered(spec: Train) -> Train:
    """Each sample once, in order, and all of them."""
    return spec.model_copy(update={"limit_batches": None})


@torch.no_grad()
def one_pass(model: nn.Module, names: tuple[str, ...], loader: Loader, world: World, spec: Train) -> Iterator[Tensor]:
    dtype = torch.float64 if spec.precision == "fp64" else None
    for portion in loader.portions():
        for batch in portion.micro:
            output = call_model(model, names, on_device(batch, world.device, dtype))
            if not isinstance(output, Tensor):
                raise WorkerError(
                    f"the model gives a {type(output).__name__}: predict writes the rows of one tensor. launcher.load_model(run) "
                    "gives you the model",
                    kind="spec",
                )
            yield output
        if portion.last:
            return


def joined(outputs: list[Tensor]) -> Tensor:
    if len({output.shape[1:] for output in outputs}) > 1:
        raise WorkerError(
            "the outputs of different batches have different shapes, as sequences have: they make no table. "
            "launcher.load_model(run) gives you the model",
            kind="spec",
        )
    return torch.cat(outputs)
