"""Every built-in target: its short name, what it builds, and its arguments with their types.

One line here is all that a new optimizer, loss, model or metric needs; the job's types, `launch explain`, the JSON Schema,
completion and the worker's building follow from it. Arguments keep the names and meanings of what is built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, create_model

from launcher.spec.base import Frozen
from launcher.spec.values import Length

Kind = Literal["model", "loss", "optimizer", "schedule", "data", "augment", "metric", "collate"]

REQUIRED: Any = ...


@dataclass(frozen=True)
class Entry:
    kind: Kind
    name: str
    builds: str
    """`module:attribute`, imported in the worker alone."""
    doc: str
    arguments: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    """name -> (type, default); `REQUIRED` where there is none."""
    needs: tuple[str, ...] = ()
    """Modules that building it imports: what a fork server loads beforehand."""
    samples: Callable[[Mapping[str, Any]], int] | None = None
    """A data set's length from its arguments, where it is known without loading it."""

    @cached_property
    def model(self) -> type[BaseModel]:
        """A model that checks the arguments. Built when first used: a job names few entries."""
        fields: dict[str, Any] = dict(self.arguments)
        return create_model(self.name, __base__=Frozen, **fields)


def entries(*table: Entry) -> dict[tuple[Kind, str], Entry]:
    return {(entry.kind, entry.name): entry for entry in table}


Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(ge=0)]

TORCHVISION_MODEL: dict[str, tuple[Any, Any]] = {"num_classes": (Count, 1000), "in_channels": (Count, 3)}
ADAM: dict[str, tuple[Any, Any]] = {
    "lr": (Rate, 1e-3), "betas": (Annotated[list[Share], Field(min_length=2, max_length=2)], [0.9, 0.999]), "eps": (Rate, 1e-8),
    "weight_decay": (Rate, 0.0), "amsgrad": (bool, False),
}  # fmt: skip
VISION = ("torchvision.models",)
TRANSFORMS = ("torchvision.transforms.v2",)
DIGITS = {"train": 1437, "val": 360, "all": 1797}
REDUCED: dict[str, tuple[Any, Any]] = {}

CATALOGUE = entries(
    Entry("model", "resnet18", "launcher.worker.models:torchvision_model", "ResNet-18 of torchvision", TORCHVISION_MODEL,
          needs=VISION),
    Entry("model", "resnet50", "launcher.worker.models:torchvision_model", "ResNet-50 of torchvision", TORCHVISION_MODEL,
          needs=VISION),
    Entry("model", "mlp", "launcher.worker.models:mlp", "fully connected layers with an activation between them", {
        "in_features": (Count, REQUIRED), "hidden": (list[Count], [128]), "out_features": (Count, REQUIRED),
        "activation": (str, "relu"), "dropout": (Share, 0.0), "batch_norm": (bool, False)}),
    Entry("model", "cnn", "launcher.worker.models:cnn", "convolutions with batch norm and pooling, then a linear layer", {
        "in_channels": (Count, REQUIRED), "channels": (list[Count], [32, 64]), "num_classes": (Count, REQUIRED),
        "activation": (str, "relu"), "dropout": (Share, 0.0)}),
    Entry("loss", "cross_entropy", "launcher.worker.losses:CrossEntropy", "cross-entropy of logits and class indices", {
        "label_smoothing": (Share, 0.0), "weight": (list[Rate] | None, None), "ignore_index": (int, -100)}),
    Entry("loss", "mse", "torch.nn:MSELoss", "mean squared error", REDUCED),
    Entry("loss", "l1", "torch.nn:L1Loss", "mean absolute error", REDUCED),
    Entry("loss", "bce_with_logits", "torch.nn:BCEWithLogitsLoss", "binary cross-entropy of logits", REDUCED),
    Entry("optimizer", "sgd", "torch.optim:SGD", "stochastic gradient descent", {
        "lr": (Rate, 1e-3), "momentum": (Rate, 0.0), "dampening": (float, 0.0), "weight_decay": (Rate, 0.0),
        "nesterov": (bool, False)}),
    Entry("optimizer", "adam", "torch.optim:Adam", "Adam (Kingma and Ba 2015)", ADAM),
    Entry("optimizer", "adamw", "torch.optim:AdamW", "Adam with decoupled weight decay (Loshchilov and Hutter 2019)",
          ADAM | {"weight_decay": (Rate, 1e-2)}),
    Entry("schedule", "constant", "launcher.worker.schedules:constant", "the optimizer's rate throughout"),
    Entry("schedule", "cosine", "launcher.worker.schedules:cosine", "half a cosine down to `final` times the rate",
          {"final": (Rate, 0.0)}),
    Entry("schedule", "linear", "launcher.worker.schedules:linear", "a straight line down to `final` times the rate",
          {"final": (Rate, 0.0)}),
    Entry("schedule", "step", "launcher.worker.schedules:step", "times `gamma` after every `step_size`",
          {"step_size": (Length, REQUIRED), "gamma": (Rate, 0.1)}),
    Entry("data", "digits", "launcher.worker.data.digits:digits", "scikit-learn's 1,797 hand-written digits, split 80/20", {
        "split": (Literal["train", "val", "all"], "train"), "size": (Count, 8), "flatten": (bool, False),
        "normalize": (bool, True)},
          needs=("sklearn.datasets", "sklearn.model_selection"), samples=lambda given: DIGITS[given.get("split", "train")]),
    Entry("data", "fake_data", "launcher.worker.data.fake:fake_data", "random inputs and classes, for trying things out", {
        "samples": (Count, 1000), "shape": (list[Count], [3, 32, 32]), "num_classes": (Count, 10), "seed": (int, 0)},
          samples=lambda given: int(given.get("samples", 1000))),
    Entry("augment", "random_crop", "torchvision.transforms.v2:RandomCrop", "a random window of the padded image", {
        "size": (Count | list[Count], REQUIRED), "padding": (int | list[int] | None, None), "fill": (float, 0.0),
        "padding_mode": (Literal["constant", "edge", "reflect", "symmetric"], "constant")}, needs=TRANSFORMS),
    Entry("augment", "random_horizontal_flip", "torchvision.transforms.v2:RandomHorizontalFlip",
          "mirrored left to right with probability `p`", {"p": (Share, 0.5)}, needs=TRANSFORMS),
    Entry("metric", "accuracy", "launcher.worker.metrics:accuracy", "share of samples whose largest output is the target"),
)  # fmt: skip


def names(kind: Kind) -> list[str]:
    return [name for of_kind, name in CATALOGUE if of_kind == kind]
