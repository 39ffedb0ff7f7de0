"""What `train.data.sampling` names: the order of an epoch's draws where it is not each sample once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from launcher.spec.target import Target
from launcher.worker.data.classes import Classes, balanced_weights, classes_of, counts_of
from launcher.worker.data.order import Blockwise, Indices
from launcher.worker.data.quotas import Quotas
from launcher.worker.data.weighted import Weighted, WeightedOnce, Weights
from launcher.worker.errors import WorkerError
from launcher.worker.targets import built, builtin, constructed_or_bound

FIELD = "train.data.sampling"


@dataclass(frozen=True)
class Drawn:
    """What is drawn from."""

    dataset: Any
    seed: int

    @property
    def classes(self) -> Classes:
        return classes_of(self.dataset, f"{FIELD} wants the classes of train.data.train")


def make_sampling(target: Target, dataset: Any, seed: int) -> Blockwise:
    """Raises WorkerError where the data does not suit it."""
    drawn = Drawn(dataset, seed)
    if builtin("sampling", target):
        return built("sampling", target, FIELD, drawn)  # type: ignore[no-any-return]
    return OwnSampling(constructed_or_bound("sampling", target, FIELD), target.target, drawn)


def weighted(
    drawn: Drawn, *, weights: Sequence[float] | str | None = None, class_weights: Sequence[float] | None = None,
    num_samples: int | None = None, replacement: bool = True,
) -> Blockwise:  # fmt: skip
    kind = Weighted if replacement else WeightedOnce
    return kind(weights_of(drawn, weights, class_weights), num_samples or len(drawn.dataset), drawn.seed)


def weights_of(drawn: Drawn, weights: Sequence[float] | str | None, class_weights: Sequence[float] | None) -> Weights:
    """One for each sample. Raises ValueError."""
    if weights is not None and class_weights is not None:
        raise ValueError("weights are one for each sample, class_weights one for each class: give one of them")
    if weights is None:
        classes = drawn.classes
        counts = counts_of(classes)
        by_class = balanced_weights(counts) if class_weights is None else np.asarray(class_weights, np.float64)
        if len(by_class) < len(counts):
            raise ValueError(f"there are {len(by_class)} class_weights and {len(counts)} classes, 0 to {len(counts) - 1}")
        return np.where(classes < 0, 0.0, by_class[np.maximum(classes, 0)])
    found = from_file(weights) if isinstance(weights, str) else np.asarray(weights, np.float64)
    if found.ndim != 1 or len(found) != len(drawn.dataset):
        raise ValueError(f"there are {found.shape} weights and {len(drawn.dataset)} samples: one for each")
    return found


def from_file(path: str) -> Weights:
    """.npy stays in its file and is read where it is needed; text has one number in each line."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}")
    found: Weights = np.load(path, mmap_mode="r", allow_pickle=False) if path.endswith(".npy") else np.loadtxt(path, ndmin=1)
    return found if found.dtype.kind == "f" else found.astype(np.float64)


def balanced(drawn: Drawn, *, num_samples: int | None = None) -> Blockwise:
    """As many draws as samples, the classes' shares equal."""
    classes = drawn.classes
    there = counts_of(classes) > 0
    ends = np.arange(there.sum() + 1) * (num_samples or len(classes)) // there.sum()
    return Quotas(classes, each(there, np.diff(ends)), drawn.seed)


def oversample(drawn: Drawn) -> Blockwise:
    counts = counts_of(classes := drawn.classes)
    return Quotas(classes, each(counts > 0, counts.max()), drawn.seed)


def undersample(drawn: Drawn) -> Blockwise:
    counts = counts_of(classes := drawn.classes)
    return Quotas(classes, each(counts > 0, counts[counts > 0].min()), drawn.seed)


def each(there: np.ndarray, quota: Any) -> Classes:
    """The quota for every class that has samples."""
    quotas = np.zeros(len(there), np.int64)
    quotas[there] = quota
    return quotas


@dataclass
class OwnSampling(Blockwise):
    """A user's function: (data set, seed, epoch) -> the epoch's samples, as many in each."""

    function: Callable[..., Any]
    name: str
    drawn: Drawn
    n: int = field(init=False)

    def __post_init__(self) -> None:
        self.n = len(self.asked(0))

    @property
    def block_size(self) -> int:
        return self.n

    def compute(self, epoch: int, positions: Indices) -> Indices:
        found = self.asked(epoch)
        if len(found) != self.n:
            raise WorkerError(f"{FIELD} ({self.name}) gives {self.n} samples in epoch 0 and {len(found)} in epoch {epoch}; "
                              "every epoch has as many", kind="spec")  # fmt: skip
        return found[positions]

    def asked(self, epoch: int) -> Indices:
        found = np.asarray(self.function(self.drawn.dataset, self.drawn.seed, epoch))
        if found.ndim != 1 or found.dtype.kind not in "iu" or not found.size:
            raise WorkerError(f"{FIELD} ({self.name}) gives {found.dtype} of shape {list(found.shape)}; it gives sample numbers",
                              kind="spec")  # fmt: skip
        if not 0 <= found.min() <= found.max() < len(self.drawn.dataset):
            raise WorkerError(f"{FIELD} ({self.name}) gives samples from {found.min()} to {found.max()}, and there are "
                              f"{len(self.drawn.dataset)}", kind="spec")  # fmt: skip
        return found.astype(np.int64)
