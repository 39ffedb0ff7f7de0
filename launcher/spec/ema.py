from __future__ import annotations

from typing import Annotated

from pydantic import Field

from launcher.spec.base import Frozen, Said


class Ema(Frozen):
    """A moving average of the weights, taken after every optimizer step and saved beside them."""

    decay: Annotated[float, Field(gt=0, lt=1), Said("a number between 0 and 1", "0.999")]
    """How much of the average a step keeps: 0.999 averages over about the last 1,000 steps."""
    evaluate: bool = True
    """Whether evaluations, and later eval, export, predict and load_model, take the average in place of the weights."""
