"""The catalogue's arguments and defaults are those of the library that an entry speaks for, but for what is told here."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from enum import Enum
from typing import Any

import pytest
from torch import nn
from torch.optim import lr_scheduler
from torch.utils.data import WeightedRandomSampler
from torchmetrics.classification import (
    MulticlassAUROC,
    MulticlassAveragePrecision,
    MulticlassF1Score,
    MulticlassPrecision,
    MulticlassRecall,
    MulticlassSpecificity,
)
from torchvision import datasets
from torchvision.ops import sigmoid_focal_loss
from torchvision.transforms import v2

from launcher.spec.catalogue import CATALOGUE, Entry, names
from launcher.spec.catalogue.entry import REQUIRED
from launcher.worker.data.images import CLASSES
from launcher.worker.data.transforms import camel_case

Defaults = dict[str, Any]

LIBRARY: dict[str, Any] = {
    "loss-cross_entropy": nn.CrossEntropyLoss, "loss-nll": nn.NLLLoss, "loss-focal": sigmoid_focal_loss,
    "loss-bce_with_logits": nn.BCEWithLogitsLoss, "loss-bce": nn.BCELoss, "loss-mse": nn.MSELoss, "loss-l1": nn.L1Loss,
    "loss-smooth_l1": nn.SmoothL1Loss, "loss-huber": nn.HuberLoss, "loss-kl_div": nn.KLDivLoss, "loss-ctc": nn.CTCLoss,
    "schedule-step": lr_scheduler.StepLR, "schedule-multi_step": lr_scheduler.MultiStepLR,
    "schedule-exponential": lr_scheduler.ExponentialLR, "schedule-cosine": lr_scheduler.CosineAnnealingLR,
    "schedule-cosine_restarts": lr_scheduler.CosineAnnealingWarmRestarts, "schedule-linear": lr_scheduler.LinearLR,
    "schedule-polynomial": lr_scheduler.PolynomialLR, "schedule-one_cycle": lr_scheduler.OneCycleLR,
    "schedule-plateau": lr_scheduler.ReduceLROnPlateau, "sampling-weighted": WeightedRandomSampler,
    "metric-precision": MulticlassPrecision, "metric-recall": MulticlassRecall, "metric-f1": MulticlassF1Score,
    "metric-specificity": MulticlassSpecificity, "metric-auroc": MulticlassAUROC,
    "metric-average_precision": MulticlassAveragePrecision, "data-image_folder": datasets.ImageFolder,
    "augment-jpeg": v2.JPEG,
}  # fmt: skip


def library(entry: Entry) -> Callable[..., Any]:
    """What it speaks for; what builds it where no library has the like."""
    if label(entry) in LIBRARY:
        return LIBRARY[label(entry)]  # type: ignore[no-any-return]
    if entry.kind == "data" and entry.name in CLASSES:
        return getattr(datasets, CLASSES[entry.name])  # type: ignore[no-any-return]
    if entry.kind == "augment" and hasattr(v2, camel_case(entry.name)):
        return getattr(v2, camel_case(entry.name))  # type: ignore[no-any-return]
    module, _, attribute = entry.builds.partition(":")
    return getattr(importlib.import_module(module), attribute)  # type: ignore[no-any-return]


def label(entry: Entry) -> str:
    return f"{entry.kind}-{entry.name}"


def defaults(function: Callable[..., Any]) -> Defaults:
    """As YAML would have them."""
    return {name: written(each.default) for name, each in inspect.signature(function).parameters.items()}


def written(value: Any) -> Any:
    if value is inspect.Parameter.empty:
        return REQUIRED
    if isinstance(value, Enum):
        return value.value
    if inspect.isfunction(value):
        return value.__name__
    return list(value) if isinstance(value, tuple) else value


SHOWN: Defaults = {"size": None, "grayscale": False, "mean": None, "std": None}
OURS: dict[str, Defaults] = {
    # arguments that the library has not got, or has another default for
    "loss-focal": {"weight": None, "ignore_index": -100}, "loss-kl_div": {"reduction": "batchmean"},
    "schedule-cosine": {"final": 0.0, "T_max": None}, "schedule-polynomial": {"total_iters": None},
    "schedule-linear": {"start_factor": 1.0, "end_factor": 0.0, "final": None, "total_iters": None},
    "schedule-exponential": {"step_size": "1 epoch"}, "schedule-plateau": {"monitor": "val/loss", "mode": None},
    "augment-gaussian_blur": {"kernel_size": 3}, "augment-random_posterize": {"bits": 4},
    "augment-random_solarize": {"threshold": 0.5}, "augment-random_adjust_sharpness": {"sharpness_factor": 2.0},
    "augment-jpeg": {"quality": [25, 75]},
    "sampling-weighted": {"weights": None, "class_weights": None, "num_samples": None},
    **{f"metric-{name}": {"average": None} for name in ("precision", "recall", "f1", "specificity")},
    "model-rnn": {"activation": "tanh"}, "model-maxvit_t": {"input_size": [224, 224]},
    **{f"model-vit_{size}": {"image_size": 224} for size in ("b_16", "b_32", "l_16", "l_32", "h_14")},
    "data-image_folder": SHOWN, **{f"data-{name}": SHOWN for name in CLASSES},
    "data-qmnist": {"download": False, **SHOWN}, "data-emnist": {"split": "balanced", "train": True, "download": False, **SHOWN},
    "layer-Linear": {"in_features": None}, "layer-Softmax": {"dim": REQUIRED}, "layer-LogSoftmax": {"dim": REQUIRED},
    **{f"layer-{name}{n}d": {"in_channels": None} for name in ("Conv", "ConvTranspose") for n in (1, 2, 3)},
    **{f"layer-{name}{n}d": {"num_features": None} for name in ("BatchNorm", "InstanceNorm") for n in (1, 2, 3)},
}  # fmt: skip


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=label)
def test_defaults_are_the_librarys(entry: Entry) -> None:
    theirs, own = defaults(library(entry)), {name: default for name, (_, default) in entry.arguments.items()}
    told = OURS.get(label(entry), {})
    assert {name: written(value) for name, value in own.items() if name in told} == told
    expected = {name: theirs.get(name, "not taken") for name in own if name not in told}
    assert {name: written(value) for name, value in own.items() if name not in told} == expected


@pytest.mark.parametrize("name", names("optimizer"))
def test_an_optimizer_takes_what_torchs_takes(name: str) -> None:
    entry = CATALOGUE["optimizer", name]
    left_out = {"params", "differentiable"} | ({"decoupled_weight_decay"} if name == "adam" else set())
    assert {*defaults(library(entry))} - left_out == {*entry.arguments}
