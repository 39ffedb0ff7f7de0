from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field
from pydantic_core import InitErrorDetails

from launcher.spec.base import Agreeing, Frozen, Said, wrong
from launcher.spec.data import Data
from launcher.spec.early_stopping import EarlyStopping
from launcher.spec.ema import Ema
from launcher.spec.init import Init
from launcher.spec.monitor import metric_key, part, target_name
from launcher.spec.schedule import ScheduleTarget, unsuited
from launcher.spec.target import Of, Target
from launcher.spec.values import Duration, Length, more_than_nothing
from launcher.spec.weights import WeightsName

NamePattern = Annotated[str, Said("a pattern of parameter names, or the path of a part of the model", "layer1")]


class Group(Frozen):
    """Parameters with settings of their own."""

    match: Annotated[str, Said("a pattern of parameter names", "head.*")]
    """Pattern of parameter names, such as `head.*`."""
    lr: Annotated[float, Field(ge=0)] | None = None
    """In place of the optimizer's own; a schedule scales both alike."""
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    """In place of the optimizer's own; `decay: matrices` leaves out biases and norms here too."""


class OptimizerTarget(Target):
    groups: list[Group] = []
    """Parameters by name pattern, with their own lr and weight_decay."""
    decay: Literal["all", "matrices"] = "all"
    """Which parameters decay; `matrices` leaves out biases and norms."""


class Train(Agreeing):
    """The built-in worker: a training declared, not programmed."""

    model: Annotated[Target, Of("model")]
    """Any nn.Module."""
    weights: WeightsName | None = None
    """Begins with these in place of random ones; a last layer of another `num_classes` begins anew. Not read again on resume."""
    init: Init | None = None
    """Initial values: of all matrices (what has at least 2 dimensions), or by pattern of parameter names, the first that matches
    deciding. Other parameters keep what their layer gives them; xavier, kaiming and orthogonal leave vectors alone."""
    freeze: list[NamePattern] = []
    """Parts of the model that stay as they are, such as `layer1` or `*.bias`; batch norm among them keeps its statistics."""
    train_only: list[NamePattern] = []
    """The parts of the model that learn, such as `fc`; all others are frozen."""
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
    evaluate_every: Annotated[Length, AfterValidator(more_than_nothing)] = Length("1 epoch")
    """How often the validation set is evaluated."""
    precision: Literal["auto", "fp32", "bf16", "fp16", "fp64"] = "auto"
    """`auto` is bf16 on GPUs that have it, else fp32; fp16 comes with loss scaling; fp64 is for exactness tests."""
    clip_grad_norm: Annotated[float, Field(gt=0)] | None = None
    """Largest norm of the whole gradient, after unscaling."""
    clip_grad_value: Annotated[float, Field(gt=0)] | None = None
    """Largest absolute value of a gradient's elements, after unscaling."""
    early_stopping: EarlyStopping | None = None
    """Ends the training early; kept over a resume, agreed by all ranks."""
    ema: Ema | None = None
    """Averages the weights over the training."""
    sync_batch_norm: bool = True
    """Batch norm over all ranks' samples, on CPU as well."""
    compile: bool = False
    """torch.compile of the model: minutes at the start (kernels for each shape of its inputs), faster steps. What cannot be
    compiled runs as it is, and the reason is printed."""
    channels_last: bool = False
    """Images with their channels innermost in memory: faster convolutions on GPUs with tensor cores, and on many CPUs."""
    activation_checkpointing: bool = False
    """Blocks keep their inputs alone and are computed anew in the backward pass: less memory, about a third more time, the same
    gradient."""
    deterministic: bool = False
    """Only algorithms that give the same bits each time; torch names an operation that has none. For GPUs: on the CPU a training
    is the same bit for bit anyway."""
    parallel: Literal["ddp", "data_parallel", "none"] = "ddp"
    """How several GPUs work together. `ddp`: a process for each. `data_parallel`: one process on one node that copies the model
    to all its GPUs in every step, which is slower. `none`: one process, one GPU."""
    limit_batches: Annotated[int, Field(ge=1)] | None = None
    """At most so many batches per epoch and per evaluation: a smoke test."""
    timeout: Duration = Duration("10m")
    """How long a collective may wait for the other ranks."""

    @staticmethod
    def disagreements(given: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        ends = [name for name in ("epochs", "max_steps") if given.get(name) is not None]
        if len(ends) != 1:
            yield wrong(f"give exactly one of epochs and max_steps; found {'both' if ends else 'neither'}")
        if given.get("early_stopping") is not None and part(given.get("data"), "val") is None:
            yield wrong("it counts evaluations, and there is no train.data.val to evaluate", "early_stopping")
        if given.get("parallel") == "data_parallel":
            for name in ("compile", "activation_checkpointing"):
                if given.get(name) is True:
                    yield wrong("it does not go together with parallel: data_parallel. Write parallel: ddp", name)
        metrics = given.get("metrics")
        names = [target_name(metric) for metric in metrics] if isinstance(metrics, list) else []
        keys = [metric_key(name) for name in names if name]
        for number, key in enumerate(keys):
            if key in keys[:number]:
                yield wrong(f"two metrics would be logged as '{key}'", "metrics", number)
        yield from unsuited(given)
