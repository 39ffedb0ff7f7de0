"""Losses as means over the whole batch, however it is cut over ranks and micro-steps.

A loss returns the mean over what it is given. The whole batch's mean is the sum of the parts' means, each times its weight, over
the sum of weights. The weight of a part is its number of samples, or what the loss's `weight(batch)` says. A loss that also has
`total(output, target)`, mean times weight, is asked for that: it is finite where every target of a part is ignored.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from launcher.worker.errors import WorkerError

TARGET_KEYS = ("target", "targets", "label", "labels", "y")
"""Where a built-in loss or metric looks in a batch that is a mapping."""


class CrossEntropy(nn.Module):
    """Cross-entropy of logits (N, C, ...) with class indices (N, ...) or class probabilities (N, C, ...), as torch's."""

    class_weights: Tensor | None

    def __init__(
        self, *, label_smoothing: float = 0.0, weight: Sequence[float] | Tensor | None = None, ignore_index: int = -100
    ) -> None:
        super().__init__()
        self.label_smoothing, self.ignore_index = label_smoothing, ignore_index
        self.register_buffer("class_weights", None if weight is None else torch.as_tensor(weight, dtype=torch.float64))

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return self.of_known_classes(output, target, "mean")

    def total(self, output: Tensor, target: Tensor) -> Tensor:
        return self.of_known_classes(output, target, "sum")

    def of_known_classes(self, output: Tensor, target: Tensor, reduction: str) -> Tensor:
        """Raises WorkerError for a class without an output. On a GPU torch aborts instead: to look would wait for it."""
        try:
            return self.reduced(output, target, reduction)
        except IndexError as error:
            outside = target[(target != self.ignore_index) & ((target < 0) | (target >= output.shape[1]))]
            if not outside.numel():
                raise
            raise WorkerError(
                f"a target is class {int(outside[0])}, but train.model gives {output.shape[1]} outputs: "
                f"classes go from 0 to {output.shape[1] - 1}",
                kind="spec",
            ) from error

    def reduced(self, output: Tensor, target: Tensor, reduction: str) -> Tensor:
        return F.cross_entropy(
            output, target, self.weights(output), ignore_index=self.ignore_index, reduction=reduction,
            label_smoothing=self.label_smoothing,
        )  # fmt: skip

    def weights(self, output: Tensor) -> Tensor | None:
        return None if self.class_weights is None else self.class_weights.to(output.dtype)

    def weight(self, batch: Any) -> Tensor:
        """What torch's mean divides by: class weights of the targets that count, or how many are given as probabilities."""
        target = target_of(batch)
        if target.is_floating_point():
            # Not torch.tensor(...), which waits for the device.
            return torch.full((), target.numel() / max(1, target.shape[1]), dtype=torch.float64, device=target.device)
        counted: Tensor = target != self.ignore_index
        if self.class_weights is None:
            return counted.sum(dtype=torch.float64)
        kept = target.masked_fill(~counted, 0).long()
        return (self.class_weights[kept] * counted).sum(dtype=torch.float64)

    def is_plain(self, targets: Tensor) -> bool:
        """Whether every target in a whole data set counts once, so that weights are numbers of samples."""
        return self.class_weights is None and targets.ndim == 1 and not bool((targets == self.ignore_index).any())


class NegativeLogLikelihood(CrossEntropy):
    """Of log-probabilities (N, C, ...) with class indices (N, ...), as torch's."""

    def __init__(self, *, weight: Sequence[float] | Tensor | None = None, ignore_index: int = -100) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index)

    def reduced(self, output: Tensor, target: Tensor, reduction: str) -> Tensor:
        return F.nll_loss(output, target, self.weights(output), ignore_index=self.ignore_index, reduction=reduction)


TORCHS: tuple[tuple[Any, Callable[..., Tensor], type[CrossEntropy]], ...] = (
    (nn.CrossEntropyLoss, F.cross_entropy, CrossEntropy),
    (nn.NLLLoss, F.nll_loss, NegativeLogLikelihood),
)
"""Weighted means of torch's own, and ours that compute the same."""


def adopted(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """torch's own weighted means do not tell their weight: ours in their place."""
    function, given = (loss.func, loss.keywords) if isinstance(loss, partial) else (loss, {})
    for kind, torchs, ours in TORCHS:
        names = inspect.signature(ours).parameters.keys()
        if function is torchs and given.keys() <= names:
            return ours(**given)
        if isinstance(loss, kind) and type(loss).forward is kind.forward and loss.reduction == "mean":
            return ours(**{name: getattr(loss, name) for name in names})
    return loss


def refuse_sums(loss: Callable[..., Tensor], name: str) -> None:
    """A sum would be taken for a mean: then its gradient depends on how a batch is cut. Raises WorkerError."""
    bound = loss.keywords.get("reduction") if isinstance(loss, partial) else None
    if "sum" in (bound, getattr(loss, "reduction", None)):
        raise WorkerError(
            f"train.loss ({name}) has reduction: sum; a loss gives the mean over its samples. Write reduction: mean, and scale "
            "train.optimizer.lr instead",
            kind="spec",
        )


def target_of(batch: Any) -> Any:
    """What a built-in loss or metric compares with. Raises WorkerError where a mapping does not say."""
    if not isinstance(batch, Mapping):
        return batch[1]
    for key in TARGET_KEYS:
        if key in batch:
            return batch[key]
    raise WorkerError(
        f"a built-in loss or metric finds its target under one of {', '.join(TARGET_KEYS)}; "
        f"the items of the data have {', '.join(batch)}",
        kind="spec",
    )


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A loss with the weight of its mean."""

    loss: Callable[..., Tensor]
    name: str
    builtin: bool
    """Built-in losses get the target; a user's own gets the whole mapping where the items are mappings."""
    has_weight: bool
    """Whether the loss has a weight of its own; else it is the number of samples."""
    by_samples: bool
    """Whether in training the weight is the number of samples: also where the loss's own comes to the same there."""

    def target(self, batch: Any) -> Any:
        return batch if isinstance(batch, Mapping) and not self.builtin else target_of(batch)

    def weight(self, batch: Any) -> Tensor:
        return torch.as_tensor(self.loss.weight(batch), dtype=torch.float64)  # type: ignore[attr-defined]

    def is_void(self, weight: float | Tensor) -> bool:
        """Whether none of a part's samples counts and its loss is a mean of nothing: NaN. Waits for the device."""
        return isinstance(weight, Tensor) and not hasattr(self.loss, "total") and not float(weight)

    def mean(self, output: Any, batch: Any) -> Tensor:
        return one_number(self.loss(output, self.target(batch)), self.name)

    def total(self, output: Any, batch: Any, weight: float | Tensor) -> Tensor:
        """Mean times weight."""
        if not isinstance(weight, Tensor):
            return self.mean(output, batch) * weight
        if hasattr(self.loss, "total"):
            return one_number(self.loss.total(output, self.target(batch)), self.name)
        mean = self.mean(output, batch)
        factor = weight.to(mean)  # a user's own weight may be on the host
        return torch.where(factor > 0, mean * factor, torch.zeros_like(mean))


def one_number(loss: Tensor, name: str) -> Tensor:
    """Raises WorkerError where a loss gives one per sample, or no tensor."""
    if not isinstance(loss, Tensor):
        raise WorkerError(f"train.loss ({name}) gives {type(loss).__name__} {loss!r:.60}; a loss gives a tensor", kind="spec")
    if not loss.ndim:
        return loss
    if loss.numel() != 1:
        raise WorkerError(
            f"train.loss ({name}) gives a tensor of shape {list(loss.shape)}; a loss gives the mean over its samples, one number",
            kind="spec",
        )
    return loss.reshape(())


def make_objective(loss: Callable[..., Tensor], name: str, *, builtin: bool, targets: Tensor | None) -> Objective:
    """`targets`: of the whole training set, where they are at hand."""
    refuse_sums(loss, name)
    loss = adopted(loss)
    has_weight = callable(getattr(loss, "weight", None))
    plain = isinstance(loss, CrossEntropy) and targets is not None and not targets.is_floating_point() and loss.is_plain(targets)
    return Objective(
        loss=loss, name=name, builtin=builtin or isinstance(loss, CrossEntropy), has_weight=has_weight,
        by_samples=plain or not has_weight,
    )  # fmt: skip
