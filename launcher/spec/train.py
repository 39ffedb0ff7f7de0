from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from launcher.spec.base import Frozen
from launcher.spec.data import Data
from launcher.spec.target import Of, Target
from launcher.spec.values import Duration, Length


class Group(Frozen):
    """Parameters with settings of their own."""

    match: str
    """Pattern of parameter names, such as `head.*`."""
    lr: float | None = None
    weight_decay: float | None = None


class OptimizerTarget(Target):
    groups: list[Group] = []
    """Parameters by name pattern, with their own lr and weight_decay."""
    decay: Literal["all", "matrices"] = "all"
    """Which parameters decay; `matrices` leaves out biases and norms."""


class ScheduleTarget(Target):
    warmup: Length | None = None
    """The rate rises linearly from 0 over this length, in front of the schedule."""


class Train(Frozen):
    """The built-in worker: a training declared, not programmed."""

    model: Annotated[Target, Of("model")]
    """Any nn.Module."""
    loss: Annotated[Target, Of("loss")]
    """(output, target) -> mean over the batch."""
    optimizer: Annotated[OptimizerTarget, Of("optimizer", beside=OptimizerTarget)]
    """Called with the parameters."""
    schedule: Annotated[ScheduleTarget, Of("schedule", beside=ScheduleTarget)] | None = None
    """The learning rate over the run; constant without one. Your own: f(step, total_steps, **arguments) -> factor."""
    data: Data
    """Training, validation and test sets, and batches."""
    metrics: list[Annotated[Target, Of("metric")]] = []
    """Computed at each evaluation beside the loss; logged as val/NAME."""
    epochs: Annotated[int, Field(ge=1)] | None = None
    """Passes over the training set (or max_steps)."""
    max_steps: Annotated[int, Field(ge=1)] | None = None
    """Optimizer steps (or epochs)."""
    evaluate_every: Length = Length("1 epoch")
    """How often the validation set is evaluated."""
    precision: Literal["auto", "fp32", "bf16", "fp16", "fp64"] = "auto"
    """`auto` is bf16 on GPUs that have it, else fp32; fp16 comes with loss scaling; fp64 is for exactness tests."""
    clip_grad_norm: Annotated[float, Field(gt=0)] | None = None
    """Largest norm of the whole gradient, after unscaling."""
    clip_grad_value: Annotated[float, Field(gt=0)] | None = None
    """Largest absolute value of a gradient's elements, after unscaling."""
    sync_batch_norm: bool = True
    """Batch norm over all ranks' samples, on CPU as well."""
    limit_batches: Annotated[int, Field(ge=1)] | None = None
    """At most so many batches per epoch and per evaluation: a smoke test."""
    timeout: Duration = Duration("10m")
    """How long a collective may wait for the other ranks."""

    @model_validator(mode="before")
    @classmethod
    def refuse_sharded_parallelism(cls, given: Any) -> Any:
        if isinstance(given, dict):
            for name in ("fsdp", "deepspeed", "tensor_parallel", "pipeline_parallel", "zero"):
                if name in given:
                    raise ValueError(
                        f"the built-in worker trains with DDP: '{name}' is not for it. "
                        "A script of your own may use it: give it under run: {script: ...}"
                    )
        return given

    @model_validator(mode="after")
    def exactly_one_end(self) -> Train:
        if (self.epochs is None) == (self.max_steps is None):
            found = "both" if self.epochs is not None else "neither"
            raise ValueError(f"give exactly one of epochs and max_steps (found {found})")
        return self

    @field_validator("metrics", mode="after")
    @classmethod
    def metrics_have_names_of_their_own(cls, metrics: list[Target]) -> list[Target]:
        seen = [metric.target for metric in metrics]
        twice = sorted({name for name in seen if seen.count(name) > 1})
        if twice:
            raise ValueError(f"metric {twice[0]} is given twice")
        return metrics
