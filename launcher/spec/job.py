from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_core import InitErrorDetails

from launcher.references import REFERENCE, VARIABLE
from launcher.spec.base import SECTION, Agreeing, Said, Text, wrong
from launcher.spec.checkpoint import Best, Checkpoint
from launcher.spec.environment import Environment
from launcher.spec.log import Log
from launcher.spec.monitor import logged_keys, monitored, part
from launcher.spec.resources import Resources
from launcher.spec.retry import Retry
from launcher.spec.run import Run
from launcher.spec.sweep import Sweep
from launcher.spec.train import Train


def environment_name(name: str) -> str:
    if not re.fullmatch(VARIABLE, name):
        raise ValueError("an environment variable's name is letters, digits and _, and begins with no digit")
    return name


def environment_value(value: str) -> str:
    if value.count("${env:") != len(REFERENCE.findall(value)):
        raise ValueError("a reference to the environment is written ${env:NAME}, with the name of a variable")
    return value


EnvironmentName = Annotated[str, AfterValidator(environment_name)]
EnvironmentValue = Annotated[Text, AfterValidator(environment_value)]


class Job(Agreeing):
    """What the user wrote, typed, with every default filled in."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$"), Said("1 to 64 letters, digits, '.', '_' or '-'", "my-job")]
    """Part of the run id; the file's stem where none is given."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """All randomness comes from it."""
    workdir: Annotated[str, Said("the path of a folder", "/home/me/project")]
    """Where relative paths start; importable in ranks. The folder where launch is called, unless given."""
    env: Annotated[dict[EnvironmentName, EnvironmentValue], SECTION] = {}
    """Environment of the ranks, byte for byte. ${env:NAME} is read where a rank starts and never stored."""
    environment: Annotated[Environment, SECTION] = Field(default={}, validate_default=True)
    """What surrounds the agents on their nodes: interpreter, shell lines, container, network interface."""
    resources: Annotated[Resources, SECTION] = Field(default={}, validate_default=True)
    """Where it runs, and on how much."""
    run: Run | None = None
    """A program of your own (or train)."""
    train: Train | None = None
    """The built-in worker (or run)."""
    checkpoint: Annotated[Checkpoint, SECTION] = Field(default={}, validate_default=True)
    """When the training is saved, and what is kept."""
    log: Annotated[Log, SECTION] = Field(default={}, validate_default=True)
    """What is written about it."""
    retry: Annotated[Retry, SECTION] = Field(default={}, validate_default=True)
    """What happens after a failure."""
    sweep: Sweep | None = None
    """Many trainings instead of one, with other values of some fields; the best of them is kept."""

    @staticmethod
    def disagreements(given: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        both = [name for name in ("train", "run") if given.get(name) is not None]
        if len(both) != 1:
            found = "both" if both else "neither"
            yield wrong(f"give exactly one of train (the built-in worker) and run (a program of your own); found {found}")
        yield from too_many_processes(part(given.get("train"), "parallel"), given.get("resources"))
        best, ends = monitored(given.get("checkpoint"), "keep_best"), monitored(given.get("train"), "early_stopping")
        sweep = given.get("sweep")
        wanted = part(sweep, "metric") if isinstance(part(sweep, "metric"), str) else None
        keys = logged_keys(given.get("train"), folds=part(sweep, "folds") is not None)
        monitors = ((best, ("checkpoint", "keep_best")), (ends, ("train", "early_stopping")), (wanted, ("sweep", "metric")))
        for key, where in monitors:
            if key is not None and keys and key not in keys:
                yield wrong(f"'{key}' is not logged while this job trains; it logs {', '.join(keys)}", *where)
        if best is not None and best != ends and part(part(given.get("train"), "early_stopping"), "restore_best") is True:
            message = f"restore_best takes the best by '{ends}', and checkpoint.keep_best keeps it by '{best}': give one of them"
            yield wrong(message, "train", "early_stopping", "restore_best")
        if sweep is not None and given.get("run") is not None:
            yield wrong("a sweep tries values of train:, the built-in worker; a program of your own has none", "sweep")

    @property
    def keep_best(self) -> Best | None:
        """By which metric the best checkpoint is kept, and taken for eval, export, predict and load_model."""
        stopping = self.train.early_stopping if self.train else None
        return stopping.best if stopping and stopping.restore_best else self.checkpoint.keep_best


def too_many_processes(parallel: object, resources: object) -> Iterator[InitErrorDetails]:
    """Where the job asks for several, and trains in one."""
    if parallel not in ("none", "data_parallel"):
        return
    nodes = part(resources, "nodes")
    for name, wanted in (("nodes", nodes), ("procs_per_node", part(resources, "procs_per_node"))):
        most = part(wanted, "max") if name == "nodes" and not isinstance(wanted, int) else wanted
        if isinstance(most, int) and most > 1:
            yield wrong(
                f"'{parallel}' trains in one process, and resources.{name} asks for {most}: the others would have nothing to do. "
                f"Write parallel: ddp, or {name}: 1",
                "train", "parallel",
            )  # fmt: skip
