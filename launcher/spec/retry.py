from __future__ import annotations

from typing import Annotated

from pydantic import Field

from launcher.spec.base import Frozen
from launcher.spec.values import Duration


class Retry(Frozen):
    """What happens after a failure."""

    max_restarts: Annotated[int, Field(ge=0)] = 3
    """New attempts since the last progress (a newer checkpoint)."""
    lost_after: Duration = Duration("8s")
    """An agent that has not been heard of for so long is lost."""
