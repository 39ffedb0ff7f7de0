"""Batches hold the same samples, drawn the same, for any number of loader processes, ranks and starting points."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import Subset, TensorDataset

from launcher.worker.data.fetch import Fetch
from launcher.worker.data.loader import Loader, MapLoader, Reading, StreamLoader
from launcher.worker.data.nested import described, tensors
from launcher.worker.data.order import Order
from launcher.worker.data.portions import Cut, Epochs
from launcher.worker.errors import WorkerError
from tests.worker import sets


def cut(rank: int = 0, world_size: int = 1, micro: int = 4) -> Cut:
    return Cut(batch_size=12, micro_batch_size=micro, rank=rank, world_size=world_size)


def loader(dataset: Any, workers: int = 0, **where: int) -> Loader:
    fetch = Fetch(dataset, 7, where.get("rank", 0), "train.data.train")
    if isinstance(dataset, sets.Stream):
        return StreamLoader(fetch=fetch, cut=cut(**where), reading=Reading(num_workers=workers))
    epochs = Epochs(order=Order(len(dataset), 7), cut=cut(**where))
    return MapLoader(fetch=fetch, epochs=epochs, reading=Reading(num_workers=workers))


def rows(portions: Any, count: int) -> list[list[float]]:
    return [row for portion in islice(portions, count) for batch in portion.micro for row in next(tensors(batch)).tolist()]


@pytest.mark.parametrize("dataset", [sets.Noisy(40), sets.Mappings(40), sets.Stream(40)], ids=lambda each: type(each).__name__)
def test_loader_processes_change_nothing(dataset: Any) -> None:
    alone = rows(loader(dataset).portions(), 6)
    assert rows(loader(dataset, workers=2).portions(), 6) == alone
    assert len({tuple(row) for row in alone[:40]}) == 40


@pytest.mark.parametrize("dataset", [sets.Noisy(40), sets.Stream(40)], ids=lambda each: type(each).__name__)
def test_ranks_together_read_what_one_reads(dataset: Any) -> None:
    alone = list(islice(loader(dataset, micro=12).portions(), 5))
    parts = [list(islice(loader(dataset, rank=rank, world_size=3, micro=12).portions(), 5)) for rank in range(3)]
    for number, portion in enumerate(alone):
        together = [row for part in parts for batch in part[number].micro for row in batch[0].tolist()]
        assert together == portion.micro[0][0].tolist()
        assert {part[number].last for part in parts} == {portion.last}


@pytest.mark.parametrize("dataset", [sets.Noisy(40), sets.Stream(40)], ids=lambda each: type(each).__name__)
def test_a_later_start_goes_on_with_what_comes_there(dataset: Any) -> None:
    assert rows(loader(dataset).portions(1, 2), 3) == rows(islice(loader(dataset).portions(), 6, None), 3)


def test_a_stream_ends_its_epoch_with_a_short_batch() -> None:
    portions = list(islice(loader(sets.Stream(30)).portions(), 4))
    seen = [(each.epoch, each.batch, each.samples, each.last) for each in portions]
    assert seen == [(0, 0, 12, False), (0, 1, 12, False), (0, 2, 6, True), (1, 0, 12, False)]


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("dataset", [sets.Raising(40)])
def test_a_sample_that_cannot_be_read_is_named_with_its_rank(dataset: Any, workers: int) -> None:
    found = loader(dataset, workers=workers, rank=1, world_size=1).portions()
    with pytest.raises(WorkerError, match=r"sample 37 of train.data.train \(rank 1\): OSError: the disk ate it") as caught:
        list(islice(found, 4))
    file, line = caught.value.details["where"].split(":")
    assert "the disk ate it" in Path(file).read_text().splitlines()[int(line) - 1]


def test_tensors_in_memory_are_taken_as_they_are_of_a_subset_too() -> None:
    whole = TensorDataset(torch.arange(20.0).view(20, 1), torch.arange(20))
    one = Fetch(Subset(whole, [3, 9, 11]), 0, 0, "x")
    assert one.tensors is not None
    assert [tensor.tolist() for tensor in one(0, torch.tensor([2, 0]).numpy())] == [[[11.0], [3.0]], [11, 3]]


def test_a_batch_of_no_samples_keeps_its_form() -> None:
    empty = Fetch(sets.Mappings(5), 0, 0, "x")(0, torch.empty(0, dtype=torch.int64).numpy())
    assert described(empty) == "{features: float32 [0, 6], sample: int64 [0], target: int64 [0]}"
