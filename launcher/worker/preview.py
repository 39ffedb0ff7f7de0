"""`preview`: a picture of what the network sees in the first batches, each sample as it is and as augmentation makes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from torch import Tensor

from launcher.rundir import RunDir
from launcher.worker.data import nested
from launcher.worker.data.augment import input_of
from launcher.worker.data.loader import MapLoader, StreamLoader
from launcher.worker.data.splits import make_datasets, make_loader
from launcher.worker.job import read_job
from launcher.worker.losses import TARGET_KEYS
from launcher.worker.world import World, set_threads
from launcher.worker.written import refuse_missing_folder, whole

ACROSS = 8
"""Samples in a row."""
MOST_SHARES = 2
"""Classes named of a target that is a mixture."""


@dataclass(frozen=True)
class Shown:
    """A sample before and after augmentation."""

    before: Any
    after: Any


def preview(run: RunDir, *, out: Path, samples: int, epoch: int) -> int:
    """Writes the picture. Raises WorkerError where the data cannot be read or shown."""
    refuse_missing_folder(out)
    job = read_job(run)
    spec = job.train
    assert spec is not None
    only = spec.model_copy(update={"data": spec.data.model_copy(update={"val": None, "test": None})})
    world = World()
    set_threads(job, world)
    datasets = make_datasets(only, job.seed, world)
    loader = make_loader(datasets["train"], "train", only, job.seed, run, world)
    shown = read_map(loader, samples, epoch) if isinstance(loader, MapLoader) else read_stream(loader, samples, epoch)
    batch = loader.fetch.collated([each.after for each in shown])
    print(f"{len(shown)} samples of train.data.train, as a batch: {nested.described(batch)}{extent(batch)}")
    with whole(out) as aside:
        draw(shown, aside, title=f"{job.name}: epoch {epoch}", augmented=bool(loader.fetch.steps))
    print(out)
    return 0


def read_map(loader: MapLoader, samples: int, epoch: int) -> list[Shown]:
    """The first ones of the epoch's order."""
    order, fetch = loader.epochs.order, loader.fetch
    ids = order.samples(epoch, 0, min(samples, order.n)).tolist()
    return [Shown(fetch.item(epoch, sample, at, upto=0), fetch.item(epoch, sample, at)) for at, sample in enumerate(ids)]


def read_stream(loader: StreamLoader, samples: int, epoch: int) -> list[Shown]:
    plain = replace(loader, fetch=replace(loader.fetch, steps=()))
    both = [list(islice(each.items(epoch), samples)) for each in (plain, loader)]
    return [Shown(*pair) for pair in zip(*both, strict=True)]


def extent(batch: Any) -> str:
    numbers = [tensor for tensor in nested.tensors(batch) if tensor.is_floating_point() and tensor.numel()]
    return f", inputs from {float(numbers[0].min()):.4g} to {float(numbers[0].max()):.4g}" if numbers else ""


def draw(shown: list[Shown], out: Path, *, title: str, augmented: bool) -> None:
    across, bands = min(ACROSS, len(shown)), -(-len(shown) // ACROSS)
    high = 2 if augmented else 1
    figure, grid = plt.subplots(bands * high, across, figsize=(1.5 * across, 1.75 * bands * high + 0.5), squeeze=False,
                                layout="constrained")  # fmt: skip
    for axes in grid.flat:
        axes.axis("off")
    for number, each in enumerate(shown):
        band, column = divmod(number, ACROSS)
        span = span_of(input_of(each.before))
        draw_one(grid[band * high][column], each.before, span)
        if augmented:
            draw_one(grid[band * high + 1][column], each.after, span)
    said = "above as it is, below as the network sees it" if augmented else "no augmentation: as the network sees it"
    figure.suptitle(f"{title}; {said}", fontsize=10)
    try:
        figure.savefig(out, dpi=120, format="png")
    finally:
        plt.close(figure)


def draw_one(axes: Axes, item: Any, span: tuple[float, float]) -> None:
    value = torch.as_tensor(input_of(item)).detach().float().cpu()
    painter(value)(axes, value, span)
    axes.set_title(target_in_words(item), fontsize=8)


def span_of(value: Any) -> tuple[float, float]:
    """Black and white: 0 and 1, or what the sample itself goes from and to."""
    numbers = torch.as_tensor(value).float()
    low, high = (float(numbers.min()), float(numbers.max())) if numbers.numel() else (0.0, 1.0)
    return (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)


def painter(value: Tensor) -> Callable[[Axes, Tensor, tuple[float, float]], Any]:
    if value.ndim == 3 and len(value) in (1, 3):
        return paint_image
    if value.ndim == 2:
        return paint_table
    return paint_numbers


def paint_image(axes: Axes, value: Tensor, span: tuple[float, float]) -> None:
    low, high = span
    scaled = ((value - low) / max(high - low, 1e-12)).clamp(0, 1).permute(1, 2, 0).numpy()
    axes.imshow(scaled.squeeze(-1) if scaled.shape[-1] == 1 else scaled, cmap="gray", vmin=0, vmax=1, interpolation="nearest")


def paint_table(axes: Axes, value: Tensor, span: tuple[float, float]) -> None:
    """A sequence: time from left to right."""
    axes.imshow(value.T.numpy(), cmap="viridis", vmin=span[0], vmax=span[1], aspect="auto", interpolation="nearest")


def paint_numbers(axes: Axes, value: Tensor, span: tuple[float, float]) -> None:
    axes.axis("on")
    axes.tick_params(labelsize=6)
    numbers = value.reshape(-1).numpy()
    axes.bar(range(len(numbers)), numbers, color="#4269d0", width=1.0)
    low, high = min(span[0], 0.0), max(span[1], 0.0)
    axes.set_ylim(low - 0.1 * (high - low), high + 0.1 * (high - low))


def target_in_words(item: Any) -> str:
    """A class, a number, or the largest shares of a mixture."""
    keys = [key for key in TARGET_KEYS if key in item] if isinstance(item, dict) else []
    target = item[keys[0]] if keys else None if isinstance(item, dict) or len(item) < 2 else item[1]
    if target is None or isinstance(target, str):
        return target or ""
    value = torch.as_tensor(target)
    if value.numel() == 1:
        return f"{value.item():.4g}"
    if value.is_floating_point() and value.ndim == 1:
        top = value.topk(min(MOST_SHARES, len(value)))
        return ", ".join(f"{kind}: {share:.2f}" for share, kind in zip(*map(Tensor.tolist, top), strict=True) if share)
    return " ".join(map(str, value.flatten()[:8].tolist()))
