from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from launcher.spec.base import Frozen
from launcher.spec.values import Duration


class Retry(Frozen):
    """What happens after a failure."""

    max_restarts: Annotated[int, Field(ge=0)] = 3
    """New attempts since the last progress (a newer checkpoint)."""
    lost_after: Duration = Duration("8s")
    """An agent that has not been heard of for so long is lost."""
    hang_timeout: Duration = Duration("10m")
    """No rank makes a step for so long: the stacks of all are kept, then they are restarted. Until the first step three times
    as long. 0s: never."""
    when_time_is_up: Literal["continue", "stop"] = "continue"
    """At the queue's time limit: go on in a successor job, or stop, saved."""
