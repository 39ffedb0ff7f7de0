from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from launcher.spec.base import Frozen
from launcher.spec.checkpoint import Checkpoint
from launcher.spec.log import Log
from launcher.spec.resources import Resources
from launcher.spec.retry import Retry
from launcher.spec.run import Run
from launcher.spec.train import Train

ENVIRONMENT_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
REFERENCE = re.compile(r"\$\{env:(" + ENVIRONMENT_NAME + r")\}")


class Job(Frozen):
    """What the user wrote, typed, with every default filled in."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    """Part of the run id; the file's stem where none is given."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """All randomness comes from it."""
    workdir: str
    """Where relative paths start; importable in ranks. The folder where launch is called, unless given."""
    env: dict[str, str] = {}
    """Environment of the ranks. ${env:NAME} is read where a rank starts and never stored."""
    resources: Resources = Resources()
    """Where it runs, and on how much."""
    run: Run | None = None
    """A program of your own (or train)."""
    train: Train | None = None
    """The built-in worker (or run)."""
    checkpoint: Checkpoint = Checkpoint()
    """When the training is saved, and what is kept."""
    log: Log = Log()
    """What is written about it."""
    retry: Retry = Retry()
    """What happens after a failure."""

    @model_validator(mode="after")
    def exactly_one_of_run_and_train(self) -> Job:
        if (self.run is None) == (self.train is None):
            found = "both" if self.run is not None else "neither"
            raise ValueError(f"give exactly one of train (the built-in worker) and run (a program of your own); found {found}")
        return self

    @field_validator("env", mode="after")
    @classmethod
    def environment_can_be_set(cls, env: dict[str, str]) -> dict[str, str]:
        for name, value in env.items():
            if not re.fullmatch(ENVIRONMENT_NAME, name):
                raise ValueError(f"{name!r} cannot be the name of an environment variable")
            if "\0" in value:
                raise ValueError(f"{name} holds a NUL byte, which no environment can")
        return env
