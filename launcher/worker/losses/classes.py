"""Losses of class indices: their means are over the sum of the targets' class weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from launcher.worker.data import nested
from launcher.worker.losses.batch import target_of

ClassWeights = Sequence[float] | Tensor | Literal["auto"] | None
CLASS_DTYPES = (torch.int64, torch.uint8)


class CrossEntropy(nn.Module):
    """Cross-entropy of logits (N, C, ...) with class indices (N, ...) or class probabilities (N, C, ...), as torch's."""

    labels, gives = "classes", "logits"
    class_weights: Tensor | None

    def __init__(self, *, label_smoothing: float = 0.0, weight: ClassWeights = None, ignore_index: int = -100) -> None:
        super().__init__()
        self.label_smoothing, self.ignore_index = label_smoothing, ignore_index
        self.auto = isinstance(weight, str)
        given = None if weight is None or isinstance(weight, str) else torch.as_tensor(weight, dtype=torch.float64)
        self.register_buffer("class_weights", given)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return self.reduced(output, target, "mean")

    def total(self, output: Tensor, target: Tensor) -> Tensor:
        return self.reduced(output, target, "sum")

    def reduced(self, output: Tensor, target: Tensor, reduction: str) -> Tensor:
        return F.cross_entropy(
            output, target, self.weights(output), ignore_index=self.ignore_index, reduction=reduction,
            label_smoothing=self.label_smoothing,
        )  # fmt: skip

    def weights(self, output: Tensor) -> Tensor | None:
        if self.class_weights is None:
            return None
        if self.auto and len(self.class_weights) < output.shape[1]:
            # Classes that training lacks: nothing is known of them.
            self.class_weights = F.pad(self.class_weights, (0, output.shape[1] - len(self.class_weights)), value=1.0)
        return self.class_weights.to(output.dtype)

    def balance(self, targets: Tensor) -> None:
        """Weights inversely proportional to how often a class is among all training targets; over these their mean is 1."""
        counts = torch.bincount(targets[targets != self.ignore_index].flatten().long()).double()
        present = counts > 0
        balanced = counts.sum() / (present.sum() * counts.clamp(min=1))
        self.class_weights = torch.where(present, balanced, torch.ones_like(counts))

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

    def unfit(self, output: Tensor, target: Tensor) -> str | None:
        if output.ndim < 2:
            return f"wants an output for each class, (N, classes); the model's output is {nested.described(output)}"
        return self.unfit_targets(output, target) or self.unfit_classes(output, target) or self.unfit_weights(output)

    def unfit_targets(self, output: Tensor, target: Tensor) -> str | None:
        if target.is_floating_point():
            return self.unfit_probabilities(output, target)
        if target.dtype not in CLASS_DTYPES:
            return f"wants class indices of int64{{given}}, and the model's output is {nested.described(output)}"
        expected = (len(output), *output.shape[2:])
        if tuple(target.shape) != expected:
            return f"wants class indices of shape {list(expected)} for the output {nested.described(output)}{{given}}"
        return None

    def unfit_probabilities(self, output: Tensor, target: Tensor) -> str | None:
        if target.shape == output.shape:
            return None
        return (
            "wants class indices of int64, or probabilities of the output's shape{given}, and the model's output is "
            f"{nested.described(output)}. For numbers write train.loss: mse"
        )

    def unfit_classes(self, output: Tensor, target: Tensor) -> str | None:
        if target.is_floating_point():
            return None
        counted, classes = target[target != self.ignore_index], output.shape[1]
        if not counted.numel() or 0 <= int(counted.min()) <= int(counted.max()) < classes:
            return None
        return (
            f"targets from {int(counted.min())} to {int(counted.max())} are outside the {classes} classes of the model's output "
            f"(0 to {classes - 1}). Give train.model more outputs (num_classes, out_features), or renumber the targets"
        )

    def unfit_weights(self, output: Tensor) -> str | None:
        weights, classes = self.class_weights, output.shape[1]
        if weights is None or weights.shape == (classes,):
            return None
        return f"has {weights.numel()} weights for the {classes} classes of the model's output: write one for each class"


class NegativeLogLikelihood(CrossEntropy):
    """Of log-probabilities (N, C, ...) with class indices (N, ...), as torch's."""

    def __init__(self, *, weight: ClassWeights = None, ignore_index: int = -100) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index)

    def reduced(self, output: Tensor, target: Tensor, reduction: str) -> Tensor:
        return F.nll_loss(output, target, self.weights(output), ignore_index=self.ignore_index, reduction=reduction)

    def unfit_probabilities(self, output: Tensor, target: Tensor) -> str | None:  # noqa: ARG002
        return f"wants class indices of int64{{given}}, and the model's output is {nested.described(output)}"

    def unfit(self, output: Tensor, target: Tensor) -> str | None:
        return super().unfit(output, target) or not_logarithms(output, "cross_entropy")


class Focal(CrossEntropy):
    """Cross-entropy of logits times (1 - p) ** gamma, p the probability of the target's class (Lin et al., 2017)."""

    def __init__(self, *, gamma: float = 2.0, weight: ClassWeights = None, ignore_index: int = -100) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index)
        self.gamma = gamma

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return (self.total(output, target).double() / self.weight((None, target))).to(output.dtype)

    def reduced(self, output: Tensor, target: Tensor, reduction: str) -> Tensor:  # noqa: ARG002
        logarithms = F.log_softmax(output, 1)
        entropy = F.nll_loss(logarithms, target, self.weights(output), ignore_index=self.ignore_index, reduction="none")
        kept = target.masked_fill(target == self.ignore_index, 0).long().unsqueeze(1)
        # Of p = 1 a power below 1 has an infinite slope.
        missing = -torch.expm1(logarithms.gather(1, kept).squeeze(1)).clamp(max=-torch.finfo(output.dtype).tiny)
        return (missing**self.gamma * entropy).sum()

    unfit_probabilities = NegativeLogLikelihood.unfit_probabilities


def not_logarithms(output: Tensor, otherwise: str) -> str | None:
    if not output.numel() or (highest := float(output.max())) <= 1e-3:
        return None
    return (
        f"wants log-probabilities, and the model's output goes up to {highest:.4g}: let the model end with a log_softmax"
        f"{f', or write train.loss: {otherwise}' if otherwise else ''}"
    )
