"""From sample ids to a batch: the same for any rank, number of loader processes and history."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, Subset, TensorDataset, default_collate

from launcher.worker.blame import raised
from launcher.worker.data.arrays import Prepared
from launcher.worker.data.nested import emptied
from launcher.worker.data.order import Blockwise, Indices
from launcher.worker.randomness import SAMPLE, key, seed_default_generators

Partner = Callable[[], Any]
"""Gives another item, changed by all steps before."""
Step = Callable[[Any, Partner], Any]
"""(item, partner) -> item."""


@dataclass
class Fetch:
    """Reads, augments and collates. Before each sample the default generators of torch, numpy and random are seeded from
    (seed, epoch, sample), so that whatever a data set or an augmentation draws is a function of these."""

    dataset: Any
    seed: int
    rank: int
    place: str
    """Field of the spec, for messages."""
    steps: Sequence[Step] = ()
    """Augmentation."""
    collate: Callable[[list[Any]], Any] = default_collate
    stand_in: bool = False
    """Whether one sample, which the loss then leaves out, stands for a batch of none: for models that take no empty batch."""
    order: Blockwise | None = None
    """From which partners are drawn, for steps that mix samples."""
    by_position: bool = False
    """Whether what is drawn for an item depends on its position in the epoch: where sampling may draw a sample twice."""
    no_samples: Any = field(default=None, init=False)
    tensors: tuple[Tensor, ...] | None = field(init=False)

    def __post_init__(self) -> None:
        plain = not self.steps and self.collate is default_collate
        self.tensors = in_memory(self.dataset) if plain else None

    def __call__(self, epoch: int, ids: Indices, start: int = 0) -> Any:
        """A batch of samples, the first of them at position `start`. Raises WorkerError where the data set raises, naming the
        sample."""
        if len(ids) == 0:
            return self.empty()
        if self.tensors is not None:
            chosen = torch.from_numpy(ids)
            return tuple(tensor.index_select(0, chosen) for tensor in self.tensors)
        return self.collated([self.item(epoch, int(sample), start + number) for number, sample in enumerate(ids)])

    def empty(self) -> Any:
        if self.no_samples is None:
            self.no_samples = self.none_of(self(0, np.zeros(1, np.int64)))
        return self.no_samples

    def none_of(self, batch: Any) -> Any:
        """For a rank without samples, from a batch of one."""
        return batch if self.stand_in else emptied(batch)

    def item(self, epoch: int, sample: int, position: int = 0, *, upto: int | None = None) -> Any:
        """Changed by all steps, or by the first ones alone."""
        seed_default_generators(key(SAMPLE, self.seed, epoch, sample, *((position,) if self.by_position else ())))
        try:
            return self.augmented(self.dataset[sample], epoch, upto)
        except Exception as error:
            raise raised(error, f"sample {sample} of {self.place} (rank {self.rank})") from error

    def augmented(self, item: Any, epoch: int, upto: int | None = None) -> Any:
        for number, step in enumerate(self.steps[:upto]):
            item = step(item, partial(self.partner, epoch, number))
        return item

    def partner(self, epoch: int, upto: int) -> Any:
        """Another item of the epoch, changed by the first steps."""
        assert self.order is not None
        sample = self.order.at(epoch, torch.randint(self.order.n, (1,)).numpy())
        return self.augmented(self.dataset[int(sample[0])], epoch, upto)

    def collated(self, items: list[Any]) -> Any:
        try:
            return self.collate(items)
        except Exception as error:
            raise raised(error, f"collating {len(items)} samples of {self.place} (rank {self.rank})") from error


def numbered(dataset: Any) -> bool:
    """Whether its samples have numbers: else it is a stream."""
    return hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__") and not isinstance(dataset, IterableDataset)


def in_memory(dataset: Any) -> tuple[Tensor, ...] | None:
    """The tensors of a data set that is nothing but tensors."""
    if type(dataset) is TensorDataset or type(dataset) is Prepared:
        return dataset.tensors
    if type(dataset) is Subset and (whole := in_memory(dataset.dataset)) is not None:
        return tuple(tensor[torch.as_tensor(dataset.indices)] for tensor in whole)
    return None
