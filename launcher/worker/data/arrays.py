"""Data sets that fit into memory: from arrays to tensors, a fixed split of them, and statistics of its training part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

SPLIT_SEED = 0


@dataclass(frozen=True, eq=False)
class Statistics:
    """Mean and standard deviation of each column of a training part, in float64; their shape is that of an input."""

    mean: Tensor
    std: Tensor
    """1 for a column that never changes, which only loses its mean."""

    @classmethod
    def of(cls, inputs: Tensor) -> Self:
        std = inputs.double().std(0, correction=0)
        return cls(inputs.double().mean(0), torch.where(std > 0, std, torch.ones_like(std)))

    def equal(self, other: Statistics) -> bool:
        return torch.equal(self.mean, other.mean) and torch.equal(self.std, other.std)

    def normalized(self, inputs: Tensor) -> Tensor:
        """In float32."""
        return ((inputs.float() - self.mean) / self.std).float()


class Prepared(TensorDataset):
    """Inputs and targets in memory, with what they were prepared by (see alike.py)."""

    def __init__(
        self, inputs: Tensor, targets: Tensor, *, statistics: Statistics | None = None, names: Sequence[str] | None = None
    ) -> None:
        super().__init__(inputs, targets)
        self.statistics = statistics
        """None where the inputs are as they came."""
        self.names = names
        """Of the classes, by number; None where the targets are numbers already."""

    def renumbered(self, known: Sequence[str]) -> Self:
        """With the numbers of these names."""
        assert self.names is not None
        inputs, targets = self.tensors
        table = torch.tensor([list(known).index(name) for name in self.names])
        return type(self)(inputs, table[targets], statistics=self.statistics, names=known)


def members(samples: int, split: str, classes: np.ndarray | None = None) -> np.ndarray:
    """Indices of a split, rising: always the same 80/20, with the same share of every class in both where there are classes."""
    if split == "all":
        return np.arange(samples)
    from sklearn.model_selection import train_test_split

    by_class = classes if classes is not None and np.unique(classes, return_counts=True)[1].min() > 1 else None
    train, val = train_test_split(np.arange(samples), test_size=0.2, stratify=by_class, random_state=SPLIT_SEED)
    return np.sort(train if split == "train" else val)


def dataset(inputs: Any, targets: Any, *, split: str = "all", normalize: bool = False, targets_are: str = "auto") -> Prepared:
    """The split's part. `normalize`: inputs to mean 0 and standard deviation 1 of each column of the training part."""
    targets = np.asarray(targets)
    names = np.unique(targets).tolist() if targets.dtype.kind in "US" else None
    inputs, targets = as_inputs(np.asarray(inputs)), as_targets(targets, targets_are)
    if len(inputs) != len(targets):
        raise ValueError(f"there are {len(inputs)} inputs and {len(targets)} targets")
    classes = targets.numpy() if not targets.is_floating_point() and targets.ndim == 1 else None
    chosen = torch.from_numpy(members(len(targets), split, classes))
    if not normalize:
        return Prepared(inputs[chosen], targets[chosen], names=names)
    fitted = chosen if split == "all" else torch.from_numpy(members(len(targets), "train", classes))
    statistics = Statistics.of(inputs[fitted].float())
    return Prepared(statistics.normalized(inputs[chosen]), targets[chosen], statistics=statistics, names=names)


def as_inputs(array: np.ndarray) -> Tensor:
    """Numbers in float32, bytes as shares of 255; other integers, such as tokens, in int64."""
    if array.dtype == np.uint8:
        return torch.from_numpy(array / np.float32(255))
    if array.dtype.kind not in "fiub":
        raise ValueError(f"the inputs are of dtype {array.dtype}, not numbers")
    return torch.from_numpy(np.ascontiguousarray(array, np.float32 if array.dtype.kind in "fb" else np.int64))


def as_targets(array: np.ndarray, targets_are: str) -> Tensor:
    """Classes in int64, or numbers in float32 of shape (samples, 1) or more; `auto`: integers and names are classes.

    Names are numbered in their alphabetical order.
    """
    if array.dtype.kind in "US":
        return torch.from_numpy(np.unique(array, return_inverse=True)[1].astype(np.int64))
    if array.dtype.kind not in "fiub":
        raise ValueError(f"the targets are of dtype {array.dtype}, neither numbers nor names")
    if targets_are == "classes" or (targets_are == "auto" and array.dtype.kind != "f"):
        return torch.from_numpy(whole_numbers(array))
    numbers = torch.from_numpy(array.astype(np.float32))
    return numbers[:, None] if numbers.ndim == 1 else numbers


def whole_numbers(array: np.ndarray) -> np.ndarray:
    found = array.astype(np.int64)
    if (odd := np.flatnonzero((found != array).reshape(-1))).size:
        raise ValueError(f"target {array.reshape(-1)[odd[0]]} is no class: classes are integers. Or write targets_are: numbers")
    return found
