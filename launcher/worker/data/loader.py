"""Batches from any position on, in order, for ever: in this process or in loader processes, with the same content."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count, islice
from typing import Any, cast

import numpy as np
from torch.utils.data import DataLoader, Dataset, IterableDataset

from launcher.worker.blame import raised
from launcher.worker.data.fetch import Fetch
from launcher.worker.data.portions import Cut, Epochs, Portion
from launcher.worker.errors import WorkerError
from launcher.worker.randomness import SAMPLE, key, seed_default_generators


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How batches are read."""

    num_workers: int = 0
    prefetch: int = 2
    """Batches that each loader process keeps ready."""
    pin_memory: bool = False

    def pinned(self, portions: Iterator[Portion]) -> Iterator[Portion]:
        return (portion.pin_memory() for portion in portions) if self.pin_memory else portions


@dataclass(frozen=True, kw_only=True)
class MapLoader:
    """Of a data set with a length."""

    fetch: Fetch
    epochs: Epochs
    reading: Reading = Reading()
    repeats: bool = False
    """Whether every pass is that of epoch 0: an evaluation's."""

    @property
    def steps_per_epoch(self) -> int | None:
        return self.epochs.steps

    def with_micro_batch(self, size: int) -> MapLoader:
        return replace(self, epochs=replace(self.epochs, cut=replace(self.epochs.cut, micro_batch_size=size)))

    def portions(self, epoch: int = 0, batch: int = 0) -> Iterator[Portion]:
        """From a position on, without end. Raises WorkerError where the data does."""
        planned = self.planned(epoch, batch)
        if not self.reading.num_workers:
            return self.reading.pinned(map(self.filled, planned))
        return whole(DataLoader(Planned(self), sampler=planned, num_workers=self.reading.num_workers, **loading(self.reading)))

    def some(self, count: int) -> Any:
        """A batch of the first samples."""
        return self.fetch(0, self.epochs.order.samples(0, 0, min(count, self.epochs.order.n)))

    def planned(self, epoch: int, batch: int) -> Iterator[Portion]:
        while True:
            yield from (self.epochs.portion(epoch, each) for each in range(batch, self.epochs.steps))
            epoch, batch = epoch if self.repeats else epoch + 1, 0

    def filled(self, portion: Portion) -> Portion:
        parts = zip(portion.ids, portion.starts, strict=True)
        return replace(portion, micro=[self.fetch(portion.epoch, ids, start) for ids, start in parts])


@dataclass(frozen=True, kw_only=True)
class StreamLoader:
    """Of iterable data: every rank reads the same stream and keeps its own samples; a position is reached by reading."""

    fetch: Fetch
    cut: Cut
    drop_last: bool = False
    limit_batches: int | None = None
    reading: Reading = Reading()
    repeats: bool = False
    """As of MapLoader."""

    @property
    def steps_per_epoch(self) -> int | None:
        return None

    def with_micro_batch(self, size: int) -> StreamLoader:
        return replace(self, cut=replace(self.cut, micro_batch_size=size))

    def portions(self, epoch: int = 0, batch: int = 0) -> Iterator[Portion]:
        """As of MapLoader. More than one loader process would read the stream more than once."""
        if not self.reading.num_workers:
            return self.reading.pinned(self.read(epoch, batch))
        return whole(DataLoader(Streamed(self, epoch, batch), num_workers=1, **loading(self.reading)))

    def some(self, count: int) -> Any:
        return self.fetch.collated(list(islice(self.items(0), count)))

    def read(self, epoch: int, batch: int) -> Iterator[Portion]:
        yield from islice(self.one_epoch(epoch), batch, None)
        for number in count(*((epoch, 0) if self.repeats else (epoch + 1, 1))):
            yield from self.one_epoch(number)

    def one_epoch(self, epoch: int) -> Iterator[Portion]:
        """A batch is handed out once it is known whether another follows."""
        waiting, number = None, 0
        for number, items in enumerate(self.batches(epoch)):
            if waiting is not None:
                yield self.portion(epoch, number - 1, waiting, last=False)
            waiting = items
        if waiting is None:
            raise WorkerError(f"{self.fetch.place} gave no batch in epoch {epoch}: its stream is empty, or shorter than "
                              "a batch with drop_last", kind="spec")  # fmt: skip
        yield self.portion(epoch, number, waiting, last=True)

    def batches(self, epoch: int) -> Iterator[list[Any]]:
        stream = self.items(epoch)
        for _ in range(self.limit_batches) if self.limit_batches else count():
            items = list(islice(stream, self.cut.batch_size))
            if not items or (self.drop_last and len(items) < self.cut.batch_size):
                return
            yield items

    def items(self, epoch: int) -> Iterator[Any]:
        dataset = self.fetch.dataset
        if hasattr(dataset, "set_epoch"):
            dataset.set_epoch(epoch)
        seed_default_generators(key(SAMPLE, self.fetch.seed, epoch))
        stream = iter(dataset)
        for position in count():
            seed_default_generators(key(SAMPLE, self.fetch.seed, epoch, position))
            try:
                item = next(stream)
            except StopIteration:
                return
            except Exception as error:
                raise raised(error, f"sample {position} of {self.fetch.place} (rank {self.fetch.rank})") from error
            yield self.fetch.augmented(item, epoch)

    def portion(self, epoch: int, batch: int, items: list[Any], *, last: bool) -> Portion:
        spans = self.cut.pieces(len(items))
        start = batch * self.cut.batch_size
        micro = [
            self.fetch.collated(items[first:stop]) if stop > first else self.fetch.none_of(self.fetch.collated(items[:1]))
            for first, stop in spans
        ]
        ids = [np.arange(start + first, start + stop) for first, stop in spans]
        return Portion(epoch=epoch, batch=batch, samples=len(items), last=last, ids=ids, micro=micro)


Loader = MapLoader | StreamLoader


class Planned(Dataset[Any]):
    """What a loader process runs: a portion in, the same with its batches out."""

    def __init__(self, loader: MapLoader) -> None:
        self.loader = loader

    def __getitem__(self, portion: Any) -> Portion | WorkerError:
        try:
            return self.loader.filled(portion)
        except WorkerError as error:
            return error


class Streamed(IterableDataset[Any]):
    def __init__(self, loader: StreamLoader, epoch: int, batch: int) -> None:
        self.loader, self.position = loader, (epoch, batch)

    def __iter__(self) -> Iterator[Portion | WorkerError]:
        try:
            yield from self.loader.read(*self.position)
        except WorkerError as error:
            yield error


def loading(reading: Reading) -> dict[str, Any]:
    return {"batch_size": None, "collate_fn": as_it_is, "prefetch_factor": reading.prefetch, "pin_memory": reading.pin_memory}


def as_it_is(portion: Portion) -> Portion:
    return portion


def whole(loaded: DataLoader[Any]) -> Iterator[Portion]:
    """Errors come as values: a process's exceptions would lose their kind on the way."""
    for portion in loaded:
        if isinstance(portion, WorkerError):
            raise portion
        yield cast(Portion, portion)
