from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import InitErrorDetails

from launcher.spec.base import Agreeing, Frozen, Said, wrong
from launcher.spec.monitor import part
from launcher.spec.values import Duration

Number = int | float
Metric = Annotated[str, Said("a metric's key", "val/loss")]


class Range(Agreeing):
    """Any number from `min` to `max`; an integer where both ends and the step are, and the field takes no fractions."""

    min: Number
    """Smallest value."""
    max: Number
    """Largest value."""
    log: bool = False
    """Whether orders of magnitude count alike, as for a learning rate."""
    step: Annotated[Number, Field(gt=0)] | None = None
    """Distance between neighbouring values."""

    @staticmethod
    def disagreements(given: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        low, high = given.get("min"), given.get("max")
        if not (isinstance(low, int | float) and isinstance(high, int | float)):
            return
        step = given.get("step")
        if low >= high:
            instead = f"{{min: {high}, max: {low}}}" if low > high else f"a list of one value, [{low}],"
            yield wrong(f"min must be below max, got {low} and {high}: write {instead} or another range", "min")
        elif isinstance(step, int | float) and step > high - low:
            yield wrong(f"step {step} leads from min {low} beyond max {high}: write a smaller one", "step")
        if given.get("log") is True and low <= 0:
            yield wrong(f"log needs a min above 0, got {low}: write min: 1e-4, or leave log out", "min")
        if given.get("log") is True and step is not None:
            yield wrong("step and log exclude each other: a list of values can say both", "step")

    @property
    def whole(self) -> bool:
        return isinstance(self.min, int) and isinstance(self.max, int) and not isinstance(self.step, float)


class Prune(Frozen):
    """When a trial that does badly is ended early."""

    method: Literal["none", "median", "asha", "hyperband"] = "none"
    """`median`: worse than half of the trials before it at the same step; `asha`, `hyperband`: not among the best at a rung."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """No trial is ended before this step."""
    reduction_factor: Annotated[int, Field(ge=2)] = 3
    """Of asha and hyperband: one of so many goes on at each rung."""


def method_alone(value: object) -> object:
    return {"method": value} if isinstance(value, str) else value


Values = Annotated[list[Any], Field(min_length=1)]
Parameter = Annotated[Range | Values, Said("a list of values, or a range {min, max, log, step}", "[0.1, 0.01]")]


class Sweep(Agreeing):
    """One more job around the job: many trainings of it, with other values of some fields."""

    method: Literal["grid", "random", "tpe", "gp", "cma"] = "tpe"
    """`grid`: every combination; `random`; `tpe`, `gp` (Gaussian process) and `cma` (CMA-ES) learn from the trials before."""
    metric: Metric
    """What a trial is judged by: a logged key, at its last evaluation."""
    goal: Literal["minimize", "maximize"]
    """Whether a smaller or a larger value is better."""
    trials: Annotated[int, Field(ge=1)] | None = None
    """How many (all of a grid, unless given)."""
    max_time: Duration | None = None
    """After this long no further trial begins."""
    parallel: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    """Trials at a time; `auto` is as many as fit the resources."""
    folds: Annotated[int, Field(ge=2)] | None = None
    """Cross-validation over so many parts of the training set: a trial's value is the mean over them."""
    prune: Annotated[Prune, BeforeValidator(method_alone), Said("none, median, asha, hyperband, or {method, warmup_steps}")] = (
        Field(default={}, validate_default=True)
    )
    """When a trial that does badly is ended early."""
    parameters: Annotated[dict[str, Parameter], Said("a mapping of fields of the job to a list of values or {min, max}")] = {}
    """Fields by their path, such as train.optimizer.lr: a list of values, or a range {min, max, log}."""
    max_failures: Annotated[int, Field(ge=0)] = 3
    """A failed trial is recorded, and the sweep goes on; after more than so many it ends."""

    @staticmethod
    def disagreements(given: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        parameters = given.get("parameters")
        chosen = parameters if isinstance(parameters, Mapping) else {}
        if not chosen and given.get("folds") is None:
            yield wrong("a sweep needs parameters to try, or folds to validate over", "method")
        prune = given.get("prune")
        if given.get("folds") is not None and prune is not None and part(method_alone(prune), "method") not in (None, "none"):
            yield wrong("folds and prune exclude each other: a trial's value is the mean over all of its folds", "prune")
        if given.get("method", "tpe") == "grid":
            for path, values in chosen.items():
                if isinstance(values, Mapping) and values.get("step") is None:
                    yield wrong("a grid needs values to enumerate: write a list, or give the range a step", "parameters", path)
        elif chosen and given.get("trials") is None and given.get("max_time") is None:
            yield wrong("say how long it goes on: trials, max_time, or both", "method")
