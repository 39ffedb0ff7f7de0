from __future__ import annotations

from torch import nn

from launcher.spec.catalogue.activations import ACTIVATIONS
from launcher.spec.target import Target
from launcher.worker.errors import WorkerError
from launcher.worker.targets import call, found


def activation_layer(name: str) -> nn.Module:
    """One of ours, one of torch.nn, or the user's own by import path. Raises WorkerError."""
    torch_name = ACTIVATIONS[name].torch_name if name in ACTIVATIONS else name
    target = Target(target=torch_name if "." in name or ":" in name else f"torch.nn:{torch_name}")
    layer = call(found("layer", target, "activation of train.model"), target, "activation of train.model")
    if not isinstance(layer, nn.Module):
        raise WorkerError(f"activation of train.model: {name} gives a {type(layer).__name__}, not a torch.nn.Module", kind="spec")
    return layer
