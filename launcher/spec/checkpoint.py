from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer

from launcher.spec.base import Frozen, Said
from launcher.spec.values import Duration, Length, length_or_duration, more_than_nothing

LengthOrDuration = Annotated[
    Length | Duration,
    BeforeValidator(length_or_duration),
    AfterValidator(more_than_nothing),
    PlainSerializer(str),
    Said(f"{Length.wanted}, or {Duration.wanted}"),
]


MINIMISED = {"loss", "mae", "mse", "rmse", "mape", "error", "perplexity", "divergence", "distance"}
WORD = re.compile("[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
"""Of `mean_squared_error` and `MeanSquaredError` alike."""


class Best(Frozen):
    """Which metric decides what the best checkpoint is."""

    monitor: Annotated[str, Said("a metric's key", "val/accuracy")]
    """A logged key, such as `val/accuracy`."""
    mode: Literal["min", "max"]
    """Whether a smaller or a larger value is better; where only the key is given, `min` for losses, errors and distances."""


def best_from_name(value: object) -> object:
    """`val/accuracy` alone."""
    return {"monitor": value, "mode": mode_of(value)} if isinstance(value, str) else value


def mode_of(monitor: str) -> Literal["min", "max"]:
    """Losses and errors are minimised, all else is maximised."""
    words = {word.lower() for word in WORD.findall(monitor.rsplit("/", 1)[-1])}
    return "max" if words.isdisjoint(MINIMISED) else "min"


BestOrName = Annotated[Best, BeforeValidator(best_from_name), Said("a metric's key or {monitor, mode}", "val/accuracy")]


class Checkpoint(Frozen):
    """When the training is saved, and what is kept."""

    every: LengthOrDuration = Length("1 epoch")
    """How often, in steps, epochs, % of the run, or time."""
    keep_last: Annotated[int, Field(ge=1)] = 2
    """How many of the newest are kept."""
    keep_best: BestOrName | None = None
    """Also save and keep the best that an evaluation finds, by this metric: a key such as `val/accuracy`, or {monitor, mode}."""
