"""torchvision's networks, with another number of classes, input channels and dropout."""

from __future__ import annotations

import inspect
from typing import Any

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from launcher.worker.errors import WorkerError

PLAIN_OUTPUT: dict[str, dict[str, Any]] = {
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
}
"""name -> arguments with which a network gives one tensor in training as well."""


def torchvision_model(
    *, name: str, num_classes: int = 1000, in_channels: int = 3, dropout: float | None = None, **settings: Any
) -> nn.Module:
    """A network of torchvision.models without trained weights. `dropout`: None leaves torchvision's own."""
    from torchvision.models import get_model, get_model_builder

    settings |= PLAIN_OUTPUT.get(name, {})
    if "input_size" in settings:
        settings["input_size"] = tuple(settings["input_size"])
    own = dropout_argument(get_model_builder(name))
    if dropout is not None and own is not None:
        settings[own] = dropout
    model: nn.Module = get_model(name, weights=None, num_classes=num_classes, **settings)
    if in_channels != 3:
        replace_first_convolution(model, in_channels)
    if dropout is not None and own is None:
        drop_before(last_linear(model), dropout)
    return model


def dropout_argument(builder: Any) -> str | None:
    """What the network calls it, as far as its class tells."""
    network = inspect.signature(builder).return_annotation
    network = getattr(inspect.getmodule(builder), network) if isinstance(network, str) else network
    return "dropout" if "dropout" in inspect.signature(network).parameters else None


class DroppedLinear(nn.Linear):
    """What the last layer becomes where a network has no dropout: the same module under a new class, so that its keys stay."""

    dropout: float

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return super().forward(F.dropout(input, self.dropout, self.training))


def drop_before(layer: nn.Linear, dropout: float) -> None:
    layer.__class__ = DroppedLinear
    layer.dropout = dropout  # type: ignore[assignment]


def last_linear(model: nn.Module) -> nn.Linear:
    """Raises WorkerError where there is none."""
    found = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not found:
        raise WorkerError(f"train.model: {type(model).__name__} has no linear layer to put dropout in front of", kind="spec")
    return found[-1]


def replace_first_convolution(model: nn.Module, in_channels: int) -> None:
    path, first = next((path, module) for path, module in model.named_modules() if isinstance(module, nn.Conv2d))
    replacement = nn.Conv2d(
        in_channels, first.out_channels, first.kernel_size, first.stride, first.padding, first.dilation,  # type: ignore[arg-type]
        bias=first.bias is not None,
    )  # fmt: skip
    # As torchvision initialises its residual networks.
    nn.init.kaiming_normal_(replacement.weight, mode="fan_out", nonlinearity="relu")
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, replacement)
