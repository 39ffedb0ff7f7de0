"""What is done to a training item between data set and batch, step by step.

What a step draws from torch, numpy or random is a function of (seed, epoch, sample), and of the position in the epoch where
sampling may draw a sample more than once. A step that mixes two samples asks for its partner: a draw from all of the epoch, made
in the same stream, which goes through the steps before. So pixels and targets are the same at any world size, micro-batch and
number of loader processes; a partner from the micro-batch, as torchvision takes it, would be another at each.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from launcher.spec.data import AugmentTarget
from launcher.worker.data.classes import classes_of, counts_of
from launcher.worker.data.fetch import Partner, Step, numbered
from launcher.worker.errors import WorkerError
from launcher.worker.losses import TARGET_KEYS, target_of
from launcher.worker.targets import constructed_or_bound

INPUT_KEYS = ("input", "image", "x")
"""What augmentation changes in an item that is a mapping; its first entry where there is none of these."""


def input_of(item: Any) -> Any:
    return item[input_key(item)] if isinstance(item, Mapping) else item[0]


def input_key(item: Mapping[str, Any]) -> str:
    return next((name for name in INPUT_KEYS if name in item), next(iter(item)))


def with_input(item: Any, value: Any) -> Any:
    return {**item, input_key(item): value} if isinstance(item, Mapping) else (value, *item[1:])


def with_target(item: Any, value: Any) -> Any:
    if isinstance(item, Mapping):
        return {**item, next(key for key in TARGET_KEYS if key in item): value}
    return (item[0], value, *item[2:])


@dataclass(frozen=True)
class OnInput:
    transform: Callable[[Any], Any]

    def __call__(self, item: Any, partner: Partner) -> Any:  # noqa: ARG002
        return with_input(item, self.transform(input_of(item)))


@dataclass(frozen=True)
class OfClasses:
    """A step for some classes alone."""

    step: Step
    classes: frozenset[int]
    otherwise: Step
    field: str

    def __call__(self, item: Any, partner: Partner) -> Any:
        target = torch.as_tensor(target_of(item))
        if target.ndim or target.is_floating_point():
            raise WorkerError(f"{self.field} is for some classes, and a target is {target.dtype} of shape {list(target.shape)}, "
                              "not a class (a step that mixes samples comes last)", kind="spec")  # fmt: skip
        return (self.step if int(target) in self.classes else self.otherwise)(item, partner)


class Noise:
    def __init__(self, *, sigma: float = 0.1) -> None:
        self.sigma = sigma

    def __call__(self, value: Tensor) -> Tensor:
        return value + self.sigma * torch.randn_like(value)


@dataclass
class Mixing(ABC):
    alpha: float = 1.0
    p: float = 1.0
    num_classes: int | None = None

    def __call__(self, item: Any, partner: Partner) -> Any:
        item = self.soft(item, partner)
        if float(torch.rand(())) >= self.p:
            return item
        share = float(np.random.beta(self.alpha, self.alpha))
        other = self.soft(partner(), partner)
        value, share = self.mixed(input_of(item), input_of(other), share)
        return with_target(with_input(item, value), share * target_of(item) + (1 - share) * target_of(other))

    def soft(self, item: Any, partner: Partner) -> Any:  # noqa: ARG002
        """With probabilities of classes as target."""
        target = torch.as_tensor(target_of(item))
        if target.is_floating_point() and target.ndim:
            return item
        assert self.num_classes is not None
        if target.ndim or target.is_floating_point() or not 0 <= int(target) < self.num_classes:
            raise WorkerError(
                f"mixup and cutmix mix classes from 0 to {self.num_classes - 1}, and a target is {target}", kind="spec"
            )
        return with_target(item, F.one_hot(target.long(), self.num_classes).float())

    @abstractmethod
    def mixed(self, value: Tensor, other: Tensor, share: float) -> tuple[Tensor, float]:
        """The two mixed, and the share of the first."""


@dataclass
class MixUp(Mixing):
    def mixed(self, value: Tensor, other: Tensor, share: float) -> tuple[Tensor, float]:
        return share * value + (1 - share) * other, share


@dataclass
class CutMix(Mixing):
    def mixed(self, value: Tensor, other: Tensor, share: float) -> tuple[Tensor, float]:
        if value.ndim < 2:
            raise WorkerError(f"train.data.augment: cutmix wants images, and an input has shape {list(value.shape)}", kind="spec")
        rows, columns = (cut_out(side, math.sqrt(1 - share)) for side in value.shape[-2:])
        mixed = value.clone()
        mixed[..., rows, columns] = other[..., rows, columns]
        covered = (rows.stop - rows.start) * (columns.stop - columns.start)
        return mixed, 1 - covered / (value.shape[-2] * value.shape[-1])


def cut_out(side: int, share: float) -> slice:
    """A span of so large a share around a random middle, less what would be outside."""
    middle, half = int(torch.randint(side, ())), int(0.5 * share * side)
    return slice(max(0, middle - half), min(side, middle + half))


def make_augment(targets: list[AugmentTarget], dataset: Any) -> list[Step]:
    return [make_step(target, dataset, f"train.data.augment[{number}]") for number, target in enumerate(targets)]


def make_step(target: AugmentTarget, dataset: Any, field: str) -> Step:
    """Raises WorkerError."""
    made: Any = constructed_or_bound("augment", target, field)
    step: Step = made if isinstance(made, Mixing) else OnInput(made)
    if isinstance(made, Mixing):
        if not numbered(dataset):
            raise WorkerError(
                f"{field} ({target.target}) takes a second sample by its number, and iterable data have none", kind="spec"
            )
        if made.num_classes is None:
            made.num_classes = len(counts_of(classes_of(dataset, f"{field} ({target.target})")))
    if target.classes is None and not target.minority:
        return step
    chosen = frozenset(target.classes) if target.classes is not None else minority(dataset, field)
    return OfClasses(step, chosen, made.soft if isinstance(made, Mixing) else unchanged, field)


def unchanged(item: Any, partner: Partner) -> Any:  # noqa: ARG001
    return item


def minority(dataset: Any, field: str) -> frozenset[int]:
    """Classes with fewer samples than the average class. Raises WorkerError where there is none."""
    counts = counts_of(classes_of(dataset, field))
    found = np.flatnonzero((counts > 0) & (counts < counts.sum() / (counts > 0).sum()))
    if not found.size:
        raise WorkerError(f"{field}.minority: all {len(counts)} classes are equally frequent. Leave it out", kind="spec")
    return frozenset(found.tolist())
