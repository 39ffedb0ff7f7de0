from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from launcher.worker.data.nested import mapped


def to_channels_last(model: nn.Module) -> None:
    """Weights of convolutions, and images on their way into the model, with their channels innermost in memory."""
    model.to(memory_format=torch.channels_last)
    model.register_forward_pre_hook(inputs_channels_last, with_kwargs=True)


def inputs_channels_last(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any]:
    return mapped(given, channels_last), mapped(named, channels_last)


def channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
