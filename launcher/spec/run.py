from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field
from pydantic_core import InitErrorDetails

from launcher.spec.base import Agreeing, Said, Text, wrong
from launcher.spec.values import Duration

PROGRAMS = ("script", "module", "program")


class Run(Agreeing):
    """A program of the user's own, started as torchrun would start it."""

    script: Annotated[str, Field(min_length=1), Said("the path of a Python file", "train.py")] | None = None
    """A Python file, relative to `workdir`."""
    module: Annotated[str, Field(min_length=1), Said("the name of a module", "my_pkg.train")] | None = None
    """A module, as after `python -m`."""
    program: Annotated[list[Text], Field(min_length=1), Said("a list of text, the program first", "[./train]")] | None = None
    """An executable and its first arguments; no Python needed (torchrun's --no-python)."""
    args: list[Text] = []
    """Arguments, handed over as they stand."""
    stop_grace: Duration = Duration("30s")
    """How long a rank may take after SIGTERM before SIGKILL."""

    @staticmethod
    def disagreements(given: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        named = [name for name in PROGRAMS if given.get(name) is not None]
        if len(named) != 1:
            found = " and ".join(named) or "none of them"
            yield wrong(f"give exactly one of script, module and program; found {found}")
