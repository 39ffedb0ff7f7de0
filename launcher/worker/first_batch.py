"""Before the first step: what the job put together and does not fit, told in the job's terms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from launcher.worker.blame import described, located, out_of_memory, peer_is_gone
from launcher.worker.build import Training
from launcher.worker.data import nested
from launcher.worker.errors import WorkerError
from launcher.worker.losses import CrossEntropy, target_of


@contextmanager
def told(training: Training, batch: Any) -> Iterator[None]:
    """Errors of torch's about what the job put together, in the job's terms.

    What the user's own code raises, or stands on the way to, goes on as it is.
    """
    try:
        yield
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, KeyError) as error:
        if isinstance(error, WorkerError) or out_of_memory(error) or located(error) or peer_is_gone(error):
            raise
        spec = training.spec
        raise WorkerError(
            f"the first batch does not go through train.model ({spec.model.target}) and train.loss ({spec.loss.target}): "
            f"{described(error)}. The batch of train.data.train is {nested.described(batch)}",
            kind="spec", details={"rank": training.world.rank},
        ) from error  # fmt: skip


def check_classes(training: Training, output: Any, batch: Any) -> None:
    """Before the first step: targets as this loss wants them. On a GPU torch would only say that an assertion failed."""
    if not isinstance(training.objective.loss, CrossEntropy) or not isinstance(output, Tensor) or output.ndim < 2:
        return
    target, classes = target_of(batch), output.shape[1]
    told_as = f"train.data.train gives {nested.described(target)}, and the model's output is {nested.described(output)}"
    if target.is_floating_point() and target.shape != output.shape:
        raise WorkerError(
            f"train.loss: cross_entropy wants class indices of int64, or probabilities of the output's shape; {told_as}",
            kind="spec",
        )
    if target.is_floating_point():
        return
    if target.dtype not in (torch.int64, torch.uint8):
        raise WorkerError(f"train.loss: cross_entropy wants class indices of int64; {told_as}", kind="spec")
    counted = target[target != training.objective.loss.ignore_index]
    if counted.numel() and not 0 <= int(counted.min()) <= int(counted.max()) < classes:
        raise WorkerError(
            f"train.loss: targets from {int(counted.min())} to {int(counted.max())} are outside the {classes} classes of "
            f"the model's output (0 to {classes - 1}). Write a larger num_classes in train.model, or renumber the targets",
            kind="spec",
        )
