from __future__ import annotations

from typing import Annotated

from pydantic import Field

from launcher.spec.base import Frozen
from launcher.spec.sweep import Sweep


class Search(Frozen):
    """What a search over a function needs of a job."""

    name: str
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    sweep: Sweep
