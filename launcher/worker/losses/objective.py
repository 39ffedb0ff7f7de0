"""The loss as the training uses it: with the weight of its mean, and with words for what does not fit it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from launcher.worker.blame import located
from launcher.worker.data import nested
from launcher.worker.errors import WorkerError
from launcher.worker.losses.adopted import adopted, of_torch, refuse_sums
from launcher.worker.losses.batch import target_of
from launcher.worker.losses.classes import CrossEntropy


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
        if getattr(self.loss, "takes_batch", False):
            return batch
        return batch if isinstance(batch, Mapping) and not self.builtin else target_of(batch)

    def weighed(self, batch: Any) -> Any:
        """As much of a batch as its weight is of: the rest need not be moved for it."""
        return (None, target_of(batch)) if getattr(type(self.loss), "weight", None) is CrossEntropy.weight else batch

    def weight(self, batch: Any) -> Tensor:
        """Raises WorkerError, in a loss of ours, for a target that it cannot weigh."""
        try:
            return torch.as_tensor(self.loss.weight(batch), dtype=torch.float64)  # type: ignore[attr-defined]
        except IndexError as error:
            if located(error):
                raise
            target = self.target(batch)
            raise WorkerError(
                f"train.loss: {self.name} has no weight for one of the targets, which go from {int(target.min())} to "
                f"{int(target.max())}: write one for each class",
                kind="spec",
            ) from error

    def is_void(self, weight: float | Tensor) -> bool:
        """Whether none of a part's samples counts and its loss is a mean of nothing: NaN. Waits for the device."""
        return isinstance(weight, Tensor) and not hasattr(self.loss, "total") and not float(weight)

    def mean(self, output: Any, batch: Any) -> Tensor:
        return self.number(self.loss, output, batch)

    def total(self, output: Any, batch: Any, weight: float | Tensor) -> Tensor:
        """Mean times weight."""
        if not isinstance(weight, Tensor):
            return self.mean(output, batch) * weight
        if hasattr(self.loss, "total"):
            return self.number(self.loss.total, output, batch)
        mean = self.mean(output, batch)
        factor = weight.to(mean)  # a user's own weight may be on the host
        return torch.where(factor > 0, mean * factor, torch.zeros_like(mean))

    def number(self, function: Callable[..., Tensor], output: Any, batch: Any) -> Tensor:
        """Raises WorkerError where torch refuses what does not fit. On a GPU it may abort instead: to look would wait for it."""
        target = self.target(batch)
        try:
            return one_number(function(output, target), self.name)
        except (RuntimeError, ValueError, IndexError, TypeError, AttributeError) as error:
            if isinstance(error, WorkerError) or (words := self.unfit(output, batch, split=None)) is None:
                raise
            raise WorkerError(words, kind="spec") from error

    def unfit(self, output: Any, batch: Any, *, split: str | None) -> str | None:
        """What does not fit the loss, as a sentence, where it is one that says; waits for the device. `split`: for the words."""
        if not hasattr(self.loss, "unfit"):
            return None
        words = self.loss.unfit(nested.mapped(output, lambda tensor: tensor.detach()), self.target(batch))
        given = f"; data.{split} gives " if split else "; the targets are "
        about = given + in_words(target_of(batch)) if words and "{given}" in words else ""
        return f"train.loss: {self.name} {words.replace('{given}', about)}" if words else None


def in_words(target: Any) -> str:
    """`float32 of shape [128]`."""
    if not isinstance(target, Tensor):
        return nested.described(target)
    return f"{str(target.dtype).removeprefix('torch.')} of shape {list(target.shape)}"


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
    of_torchs, loss = of_torch(loss), adopted(loss)
    has_weight = callable(getattr(loss, "weight", None))
    plain = isinstance(loss, CrossEntropy) and targets is not None and not targets.is_floating_point() and loss.is_plain(targets)
    return Objective(
        loss=loss, name=name, builtin=builtin or of_torchs or isinstance(loss, CrossEntropy), has_weight=has_weight,
        by_samples=plain or not has_weight,
    )  # fmt: skip
