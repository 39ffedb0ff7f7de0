"""From sample ids to a batch: the same for any rank, number of loader processes and history."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Subset, TensorDataset, default_collate

from launcher.worker.blame import raised
from launcher.worker.data.nested import emptied
from launcher.worker.data.order import Indices
from launcher.worker.randomness import SAMPLE, key, seed_default_generators

INPUT_KEYS = ("input", "image", "x")
"""What augmentation changes in an item that is a mapping; its first entry where there is none of these."""

Transform = Callable[[Any], Any]


@dataclass
class Fetch:
    """Reads, augments and collates. Before each sample the default generators of torch, numpy and random are seeded from
    (seed, epoch, sample), so that whatever a data set or an augmentation draws is a function of these."""

    dataset: Any
    seed: int
    rank: int
    place: str
    """Field of the spec, for messages."""
    augment: Sequence[Transform] = ()
    collate: Callable[[list[Any]], Any] = default_collate
    stand_in: bool = False
    """Whether one sample, which the loss then leaves out, stands for a batch of none: for models that take no empty batch."""
    no_samples: Any = field(default=None, init=False)
    tensors: tuple[Tensor, ...] | None = field(init=False)

    def __post_init__(self) -> None:
        plain = not self.augment and self.collate is default_collate
        self.tensors = in_memory(self.dataset) if plain else None

    def __call__(self, epoch: int, ids: Indices) -> Any:
        """A batch. Raises WorkerError where the data set raises, naming the sample."""
        if len(ids) == 0:
            return self.empty()
        if self.tensors is not None:
            chosen = torch.from_numpy(ids)
            return tuple(tensor.index_select(0, chosen) for tensor in self.tensors)
        return self.collated([self.item(epoch, int(sample)) for sample in ids])

    def empty(self) -> Any:
        if self.no_samples is None:
            self.no_samples = self.none_of(self(0, np.zeros(1, np.int64)))
        return self.no_samples

    def none_of(self, batch: Any) -> Any:
        """For a rank without samples, from a batch of one."""
        return batch if self.stand_in else emptied(batch)

    def item(self, epoch: int, sample: int) -> Any:
        seed_default_generators(key(SAMPLE, self.seed, epoch, sample))
        try:
            return self.augmented(self.dataset[sample])
        except Exception as error:
            raise raised(error, f"sample {sample} of {self.place} (rank {self.rank})") from error

    def augmented(self, item: Any) -> Any:
        if not self.augment:
            return item
        if isinstance(item, Mapping):
            name = next((name for name in INPUT_KEYS if name in item), next(iter(item)))
            return {**item, name: self.changed(item[name])}
        return (self.changed(item[0]), *item[1:])

    def changed(self, value: Any) -> Any:
        for transform in self.augment:
            value = transform(value)
        return value

    def collated(self, items: list[Any]) -> Any:
        try:
            return self.collate(items)
        except Exception as error:
            raise raised(error, f"collating {len(items)} samples of {self.place} (rank {self.rank})") from error


def in_memory(dataset: Any) -> tuple[Tensor, ...] | None:
    """The tensors of a data set that is nothing but tensors."""
    if type(dataset) is TensorDataset:
        return dataset.tensors
    if type(dataset) is Subset and (whole := in_memory(dataset.dataset)) is not None:
        return tuple(tensor[torch.as_tensor(dataset.indices)] for tensor in whole)
    return None
