from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from launcher.spec.base import Frozen, Said
from launcher.spec.checkpoint import Best, mode_of


class EarlyStopping(Frozen):
    """Ends the training once evaluations no longer find anything better."""

    monitor: Annotated[str, Said("a metric's key", "val/loss")]
    """A logged key, such as `val/loss`."""
    patience: Annotated[int, Field(ge=1)]
    """So many evaluations in a row without a better value end it."""
    min_delta: Annotated[float, Field(ge=0)] = 0.0
    """Only what is better by more than this counts as better."""
    mode: Literal["min", "max"] | None = None
    """Whether a smaller or a larger value is better; where it is not given, `min` for losses, errors and distances."""
    restore_best: bool = False
    """The best checkpoint is kept too, as by `checkpoint.keep_best`, and eval, export, predict and load_model take it."""

    @property
    def best(self) -> Best:
        return Best(monitor=self.monitor, mode=self.mode or mode_of(self.monitor))
