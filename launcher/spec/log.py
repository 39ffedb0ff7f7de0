from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from launcher.spec.base import Frozen, Said
from launcher.spec.values import Length, more_than_nothing


class Wandb(Frozen):
    """Weights & Biases; offline where there is no key or no network."""

    project: Annotated[str, Said("text", "demo")] | None = None
    """Project; W&B's own default otherwise."""
    entity: str | None = None
    """User or team."""
    group: str | None = None
    """Runs shown together."""
    name: str | None = None
    """Shown name; the run id otherwise."""
    tags: list[str] = []
    """Tags."""


class Tensorboard(Frozen):
    """What event files have beside the rows of metrics."""

    histograms: Annotated[Length, AfterValidator(more_than_nothing)] | None = None
    """How often the weights and gradients of every parameter are written as histograms."""
    graph: bool = False
    """The model's graph, traced with two samples."""


def switch(value: Any) -> Any:
    """`true` is a W&B run with every default, `false` is none."""
    return {} if value is True else None if value is False else value


class Log(Frozen):
    """What is written about the training, and where it is shown."""

    every: Annotated[Length, AfterValidator(more_than_nothing)] = Length("10 steps")
    """How often a row of metrics is written."""
    wandb: Annotated[
        Wandb | None, BeforeValidator(switch), Said("true, false or a mapping of project, entity, group, name, tags")
    ] = None
    """false, true, or {project, entity, group, name, tags}."""
    tensorboard: Annotated[bool | Tensorboard, Said("true, false or a mapping of histograms and graph")] = False
    """Event files in tensorboard/: true, or {histograms, graph} for more than the rows of metrics."""
    csv: bool = False
    """metrics.csv beside metrics.jsonl."""
    plots: bool = True
    """Curves as PNG in plots/."""
    gradients: Annotated[Length, AfterValidator(more_than_nothing)] | None = None
    """How often a row also has what the step did to each group of layers: norms `grad/` and `weight/`, `update/` (of the weight's
    norm), and `dead/` (the share of its activation's units that were 0 for every sample of the batch)."""
    profile: Annotated[Length, AfterValidator(more_than_nothing)] | None = None
    """Where in the run a step of rank 0 is recorded by torch's profiler: a trace in profile/ for https://ui.perfetto.dev."""
