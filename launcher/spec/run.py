from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from launcher.spec.base import Frozen
from launcher.spec.values import Duration


class Run(Frozen):
    """A program of the user's own, started as torchrun would start it."""

    script: str | None = None
    """A Python file, relative to `workdir`."""
    module: str | None = None
    """A module, as after `python -m`."""
    program: Annotated[list[str], Field(min_length=1)] | None = None
    """An executable and its first arguments; no Python needed (torchrun's --no-python)."""
    args: list[str] = []
    """Arguments, handed over as they stand."""
    stop_grace: Duration = Duration("30s")
    """How long a rank may take after SIGTERM before SIGKILL."""

    @model_validator(mode="after")
    def exactly_one_program(self) -> Run:
        given = [name for name in ("script", "module", "program") if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            raise ValueError(f"give exactly one of script, module and program (found {found})")
        return self
