"""torch's own losses, named by import path: ours in the place of those whose mean needs a weight or whose outputs need a word."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from launcher.worker.errors import WorkerError
from launcher.worker.losses.classes import CrossEntropy, NegativeLogLikelihood
from launcher.worker.losses.elementwise import BinaryCrossEntropy, BinaryCrossEntropyWithLogits, huber, l1, mse, smooth_l1


class AnyOutputs(NegativeLogLikelihood):
    """Who names torch's own is taken at his word: an output above 0 is no log-probability, but has a loss all the same."""

    unfit = CrossEntropy.unfit


TORCHS: tuple[tuple[Any, Callable[..., Tensor], Callable[..., nn.Module]], ...] = (
    (nn.CrossEntropyLoss, F.cross_entropy, CrossEntropy),
    (nn.NLLLoss, F.nll_loss, AnyOutputs),
    (nn.BCELoss, F.binary_cross_entropy, BinaryCrossEntropy),
    (nn.BCEWithLogitsLoss, F.binary_cross_entropy_with_logits, BinaryCrossEntropyWithLogits),
    (nn.MSELoss, F.mse_loss, mse),
    (nn.L1Loss, F.l1_loss, l1),
    (nn.SmoothL1Loss, F.smooth_l1_loss, smooth_l1),
    (nn.HuberLoss, F.huber_loss, huber),
)


def adopted(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    function, given = (loss.func, loss.keywords) if isinstance(loss, partial) else (loss, {})
    for kind, torchs, ours in TORCHS:
        names = inspect.signature(ours).parameters.keys()
        if function is torchs and given.keys() <= names:
            return ours(**given)
        if isinstance(loss, kind) and type(loss).forward is kind.forward and loss.reduction == "mean":
            return ours(**{name: getattr(loss, name) for name in names})
    return spread(loss)


def spread(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """torch's losses of more than one output and a target get the model's outputs one by one."""
    if not of_torch(loss):
        return loss
    named = inspect.signature(loss.forward if isinstance(loss, nn.Module) else loss).parameters
    wanted = [name for name, each in named.items() if each.default is each.empty]
    return Spread(loss, wanted) if len(wanted) > 2 else loss


def of_torch(loss: Callable[..., Tensor]) -> bool:
    function = loss.func if isinstance(loss, partial) else loss
    module = type(function).__module__ if isinstance(function, nn.Module) else getattr(function, "__module__", None)
    return (module or "").startswith("torch.nn.")


class Spread(nn.Module):
    """Such as TripletMarginLoss (anchor, positive, negative) and CosineEmbeddingLoss (input1, input2, target)."""

    def __init__(self, loss: Callable[..., Tensor], wanted: list[str]) -> None:
        super().__init__()
        self.loss, self.wanted = loss, wanted
        self.outputs = [name for name in wanted if name != "target"]

    def forward(self, output: Any, target: Any) -> Tensor:
        beside = {"target": target} if "target" in self.wanted else {}
        return self.loss(**dict(zip(self.outputs, output, strict=True)), **beside)

    def unfit(self, output: Any, target: Any) -> str | None:  # noqa: ARG002
        if isinstance(output, tuple | list) and len(output) == len(self.outputs):
            return None
        count = f"{len(output)} outputs" if isinstance(output, tuple | list) else "one output"
        named = ", ".join(self.outputs)
        return f"wants a model that gives a tuple of {len(self.outputs)} outputs, {named}; the model gives {count}"


def refuse_sums(loss: Callable[..., Tensor], name: str) -> None:
    """A sum would be taken for a mean: then its gradient depends on how a batch is cut. Raises WorkerError."""
    bound = loss.keywords.get("reduction") if isinstance(loss, partial) else None
    if "sum" in (bound, getattr(loss, "reduction", None)):
        raise WorkerError(
            f"train.loss ({name}) has reduction: sum; a loss gives the mean over its samples. Write reduction: mean, and scale "
            "train.optimizer.lr instead",
            kind="spec",
        )
