"""The job's data sets, by split, and a loader for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.utils.data import IterableDataset, default_collate

from launcher.rundir import RunDir, read_json
from launcher.spec.data import Data
from launcher.spec.target import Target
from launcher.spec.train import Train
from launcher.worker.data.alike import Named, alike
from launcher.worker.data.augment import make_augment
from launcher.worker.data.fetch import Fetch, numbered
from launcher.worker.data.loader import Loader, MapLoader, Reading, StreamLoader
from launcher.worker.data.order import Blockwise, Order
from launcher.worker.data.portions import Cut, Epochs
from launcher.worker.data.sampling import make_sampling
from launcher.worker.data.smote import resampled
from launcher.worker.errors import WorkerError
from launcher.worker.targets import built, constructed_or_bound, found
from launcher.worker.world import World, first_on_node


def splits(spec: Train) -> list[tuple[str, Target]]:
    named = (("train", spec.data.train), ("val", spec.data.val), ("test", spec.data.test))
    return [(split, target) for split, target in named if target is not None]


def make_datasets(spec: Train, seed: int, world: World) -> dict[str, Any]:
    """By split; built on one rank per file system before the others, since it may download or unpack."""
    wanted = splits(spec)
    for split, target in wanted:
        found("data", target, f"train.data.{split}")  # imports, which may take long, side by side
    with first_on_node(world):
        datasets = {split: made(target, split) for split, target in wanted}
        for split, target in wanted[1:]:
            datasets[split] = alike(datasets[split], datasets["train"], target, f"train.data.{split}")
    if spec.data.smote is not None:
        datasets["train"] = resampled(datasets["train"], spec.data.smote, seed, world)
    return datasets


def make_dataset(spec: Train, split: str) -> Any:
    """One of them alone, as make_datasets has it. Raises WorkerError."""
    target = dict(splits(spec)).get(split)
    if target is None:
        raise WorkerError(f"the job has no train.data.{split}", kind="spec")
    dataset = made(target, split)
    prepared = isinstance(dataset, Named) and (dataset.names is not None or getattr(dataset, "statistics", None) is not None)
    if split == "train" or not prepared:  # the training set may be large, or not there
        return dataset
    return alike(dataset, made(spec.data.train, "train"), target, f"train.data.{split}")


def made(target: Target, split: str) -> Any:
    field = f"train.data.{split}"
    return checked(built("data", target, field), target, field)


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


def make_loader(dataset: Any, split: str, spec: Train, seed: int, run: RunDir, world: World) -> Loader:
    data, training = spec.data, split == "train"
    pinned = world.device.type == "cuda" and data.pin_memory is not False
    reading = Reading(num_workers=data.num_workers, prefetch=data.prefetch, pin_memory=pinned)
    cut = Cut(batch_size=data.batch_size, micro_batch_size=micro_batch_size(spec, run, world), rank=world.rank,
              world_size=world.world_size)  # fmt: skip
    steps = make_augment(data.augment, dataset) if training else []
    fetch = Fetch(dataset, seed, world.rank, f"train.data.{split}", steps, make_collate(data.collate))
    drop_last, limit = training and data.drop_last, spec.limit_batches
    if not numbered(dataset):
        if training:
            refuse_sampling(data)
        return StreamLoader(fetch=fetch, cut=cut, drop_last=drop_last, limit_batches=limit, reading=reading, repeats=not training)
    order: Blockwise = Order(len(dataset), seed, shuffle=training and data.shuffle)
    if training and data.sampling is not None:
        order = make_sampling(data.sampling, dataset, seed)
        fetch.by_position = True
    fetch.order = order
    epochs = Epochs(order=order, cut=cut, drop_last=drop_last, limit_batches=limit)
    if epochs.steps == 0:
        raise WorkerError(
            f"train.data.{split} has {order.n} samples, fewer than a batch of {data.batch_size}, and drop_last leaves "
            "the rest out: there is no batch. Write a smaller batch_size, or drop_last: false",
            kind="spec",
        )
    return MapLoader(fetch=fetch, epochs=epochs, reading=reading, repeats=not training)


def refuse_sampling(data: Data) -> None:
    """Raises WorkerError."""
    if data.sampling is not None:
        raise WorkerError(
            f"train.data.sampling chooses among numbered samples, and {data.train.target} is iterable: leave it out", kind="spec"
        )


def micro_batch_size(spec: Train, run: RunDir, world: World) -> int:
    """Of a rank: its whole share, or what an attempt before this one came to when memory ran out."""
    share = -(-spec.data.batch_size // world.world_size)
    if spec.data.micro_batch_size != "auto":
        return min(spec.data.micro_batch_size, share)
    found_out = read_json(run.micro_batch) or {}
    return min(share, int(found_out.get("micro_batch_size", share)))


def make_collate(target: Target | None) -> Callable[[list[Any]], Any]:
    return default_collate if target is None else constructed_or_bound("collate", target, "train.data.collate")
