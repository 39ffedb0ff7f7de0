"""Losses that compare each output with a target of its own: means over all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from launcher.worker.data import nested
from launcher.worker.losses.classes import not_logarithms

Weights = Sequence[float] | Tensor | None


class Elementwise(nn.Module):
    """Of outputs and targets of one shape; (N, 1) and (N,) are compared, not spread to (N, N) as torch would."""

    def __init__(self, function: Callable[..., Tensor], **arguments: Any) -> None:
        super().__init__()
        self.function, self.arguments = function, arguments

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        target = aligned(output, target)
        return self.function(output, target.to(output.dtype), **self.arguments)

    def unfit(self, output: Tensor, target: Tensor) -> str | None:
        if same_but_for_one(output, target):
            return None
        for_classes = " For classes write train.loss: cross_entropy" if not target.is_floating_point() else ""
        return f"wants targets of the output's shape, {list(output.shape)}{{given}}.{for_classes}"


def same_but_for_one(output: Tensor, target: Tensor) -> bool:
    return output.shape == target.shape or (
        len(output) == len(target) and output.numel() == target.numel() and {output.ndim, target.ndim} == {1, 2}
    )


def aligned(output: Tensor, target: Tensor) -> Tensor:
    """Raises ValueError where the shapes differ."""
    if not same_but_for_one(output, target):
        raise ValueError(f"outputs of shape {list(output.shape)} and targets of shape {list(target.shape)}")
    return target.reshape(output.shape)


def mse() -> Elementwise:
    return Elementwise(F.mse_loss)


def l1() -> Elementwise:
    return Elementwise(F.l1_loss)


def smooth_l1(*, beta: float = 1.0) -> Elementwise:
    return Elementwise(F.smooth_l1_loss, beta=beta)


def huber(*, delta: float = 1.0) -> Elementwise:
    return Elementwise(F.huber_loss, delta=delta)


class BinaryCrossEntropy(Elementwise):
    """Of probabilities, with targets from 0 to 1."""

    labels, gives = "bits", "probabilities"
    weights: Tensor | None

    def __init__(self, *, weight: Weights = None) -> None:
        super().__init__(F.binary_cross_entropy)
        self.register_buffer("weights", as_weights(weight))

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        target = aligned(output, target).to(output.dtype)
        return F.binary_cross_entropy(output, target, cast(self.weights, output))

    def unfit(self, output: Tensor, target: Tensor) -> str | None:
        return (
            super().unfit(output, target)
            or outside("probabilities as outputs", output, "Let the model end with a sigmoid, or write bce_with_logits")
            or outside("targets from 0 to 1", target, "For classes write train.loss: cross_entropy")
            or unfit_weights(output, self.weights, "weight")
        )


class BinaryCrossEntropyWithLogits(Elementwise):
    """Of logits, with targets from 0 to 1."""

    labels, gives = "bits", "logits"
    weights: Tensor | None
    pos_weights: Tensor | None

    def __init__(self, *, pos_weight: Weights | Literal["auto"] = None, weight: Weights = None) -> None:
        super().__init__(F.binary_cross_entropy_with_logits)
        self.auto = isinstance(pos_weight, str)
        self.register_buffer("weights", as_weights(weight))
        self.register_buffer("pos_weights", None if isinstance(pos_weight, str) else as_weights(pos_weight))

    def balance(self, targets: Tensor) -> None:
        """How many of all training targets are 0 for one that is 1, for each output; 1 where none is."""
        columns = targets.reshape(len(targets), -1).double()
        positive = columns.sum(0)
        self.pos_weights = torch.where(positive > 0, (len(columns) - positive) / positive, torch.ones_like(positive))

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        target = aligned(output, target).to(output.dtype)
        weights, positive = cast(self.weights, output), cast(self.pos_weights, output)
        return F.binary_cross_entropy_with_logits(output, target, weights, pos_weight=positive)

    def unfit(self, output: Tensor, target: Tensor) -> str | None:
        return (
            super().unfit(output, target)
            or outside("targets from 0 to 1", target, "For classes write train.loss: cross_entropy")
            or unfit_weights(output, self.weights, "weight")
            or unfit_weights(output, self.pos_weights, "pos_weight")
        )


class KullbackLeibler(Elementwise):
    """Of log-probabilities as outputs, from the targets' distribution (N, C, ...)."""

    def __init__(self, *, log_target: bool = False, reduction: Literal["batchmean", "mean"] = "batchmean") -> None:
        super().__init__(F.kl_div, log_target=log_target, reduction=reduction)
        self.log_target = log_target

    def unfit(self, output: Tensor, target: Tensor) -> str | None:
        if output.shape != target.shape:
            return f"wants a distribution as target, of the output's shape {list(output.shape)}{{given}}"
        targets = None if self.log_target else outside("probabilities as targets", target, "Logarithms? Write log_target: true")
        return targets or not_logarithms(output, "")


def as_weights(given: Weights) -> Tensor | None:
    return None if given is None else torch.as_tensor(given, dtype=torch.float64)


def cast(weights: Tensor | None, output: Tensor) -> Tensor | None:
    return None if weights is None else weights.to(output.dtype)


def outside(wanted: str, values: Tensor, remedy: str) -> str | None:
    """What to say where values are not from 0 to 1. Waits for the device."""
    if not values.numel():
        return None
    low, high = float(values.min()), float(values.max())
    return None if 0 <= low <= high <= 1 else f"wants {wanted}, and they go from {low:.4g} to {high:.4g}. {remedy}"


def unfit_weights(output: Tensor, weights: Tensor | None, name: str) -> str | None:
    wide = output.shape[-1] if output.ndim > 1 else 1
    if weights is None or weights.numel() in (1, wide):
        return None
    return f"has {weights.numel()} values in {name} for the model's output {nested.described(output)}: write {wide} or one"
