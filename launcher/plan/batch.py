"""The arithmetic of batches and steps."""

from __future__ import annotations

import math

from launcher.plan.model import Batch, World
from launcher.spec.catalogue import CATALOGUE
from launcher.spec.data import Data
from launcher.spec.train import Train


def make_batch(train: Train, world: World) -> Batch:
    data = train.data
    per_rank = math.ceil(data.batch_size / world.world_size)
    micro = per_rank if data.micro_batch_size == "auto" else min(data.micro_batch_size, per_rank)
    samples = known_samples(data)
    per_epoch = None if samples is None else steps_per_epoch(train, samples)
    steps = train.max_steps if train.max_steps is not None else None if per_epoch is None else per_epoch * (train.epochs or 0)
    return Batch(size=data.batch_size, per_rank=per_rank, micro=micro, accumulation=math.ceil(per_rank / micro),
                 samples=samples, steps_per_epoch=per_epoch, steps=steps)  # fmt: skip


def steps_per_epoch(train: Train, samples: int) -> int:
    """Optimizer steps in one pass over `samples`."""
    data = train.data
    steps = samples // data.batch_size if data.drop_last else math.ceil(samples / data.batch_size)
    return min(steps, train.limit_batches) if train.limit_batches else steps


def known_samples(data: Data) -> int | None:
    """Of an epoch, where the job alone tells."""
    entry = CATALOGUE.get(("data", data.train.target))
    samples = entry.samples(data.train.arguments) if entry and entry.samples else None
    if data.sampling is None:
        return samples if data.smote is None else None
    if data.sampling.target not in ("weighted", "balanced"):
        return None
    given: int | None = data.sampling.arguments.get("num_samples")
    return given or (samples if data.smote is None else None)
