"""What the job put together and does not fit, told in the job's terms: at best before the first step."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from launcher.worker.blame import described, located, memory_blamed, out_of_memory, peer_is_gone
from launcher.worker.build import Training
from launcher.worker.data import nested
from launcher.worker.errors import WorkerError

WIDTHS = re.compile(r"mat1 and mat2 shapes cannot be multiplied \(\d+x(\d+) and (\d+)x\d+\)")


@contextmanager
def told(training: Training, batch: Any, *, split: str = "train", step: int | None = 0) -> Iterator[None]:
    """Errors of torch's about what the job put together, in the job's terms. `step`: how many were done before; None in an
    evaluation. Before the first the job is wrong; later it may be a single sample.

    What the user's own code raises, or stands on the way to, goes on as it is.
    """
    where = {"rank": training.world.rank}
    try:
        with memory_blamed(training.world.device):
            yield
    except WorkerError as error:
        if error.kind != "spec" or step == 0:
            error.details = where | error.details
            raise
        words = f"{error}. {at(step).capitalize()} of train.data.{split} is {nested.described(batch)}"
        raise WorkerError(words, kind="error", details=where | error.details) from error
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, KeyError) as error:
        if out_of_memory(error) or located(error) or peer_is_gone(error):
            raise
        spec = training.spec
        raise WorkerError(
            f"{at(step)} of train.data.{split} does not go through train.model ({spec.model.target}) and train.loss "
            f"({spec.loss.target}): {described(error)}.{remedy(error)} It is {nested.described(batch)}",
            kind="spec" if step == 0 else "error", details=where,
        ) from error  # fmt: skip


def at(step: int | None) -> str:
    return "the first batch" if step == 0 else f"the batch after step {step}" if step else "a batch"


def remedy(error: Exception) -> str:
    if "does not have a deterministic implementation" in str(error):
        return " Write train.deterministic: false, or take another layer or loss in its place."
    if widths := WIDTHS.search(str(error)):
        return f" A layer of {widths[2]} inputs gets {widths[1]}: write that in train.model (in_features), or flatten the data."
    return ""


def check_fit(training: Training, output: Any, batch: Any, *, split: str = "train") -> None:
    """Before the first step: outputs and targets as the loss wants them. Torch would spread shapes that differ, take scores for
    probabilities, or on a GPU say only that an assertion failed."""
    if (words := training.objective.unfit(output, batch, split=split)) is not None:
        raise WorkerError(words, kind="spec")
