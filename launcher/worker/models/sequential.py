"""Layers of torch.nn one after the other, their sizes inferred.

A rehearsal with torch's lazy layers finds what comes in, and then the layers are built anew in their order, so that the weights
are those of the module written by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from launcher.spec.catalogue.layers import INFERRED
from launcher.spec.target import Target
from launcher.worker.errors import WorkerError
from launcher.worker.targets import builtin, call, found


def sequential(*, layers: Sequence[Target]) -> nn.Sequential:
    """Lazy where a size is left to be inferred."""
    return nn.Sequential(*(layer(target, f"train.model.layers[{number}]") for number, target in enumerate(layers)))


def layer(target: Target, field: str) -> nn.Module:
    made = call(lazy(target) or found("layer", target, field), target, field, **target.arguments)
    if not isinstance(made, nn.Module):
        raise WorkerError(f"{field}: {target.target} gives a {type(made).__name__}, not a torch.nn.Module", kind="spec")
    return made


def inferred(target: Target) -> str | None:
    """The argument that says what comes in, where it is left out."""
    name = next((argument for begin, argument in INFERRED.items() if target.target.startswith(begin)), None)
    return name if builtin("layer", target) and name not in target.arguments else None


def lazy(target: Target) -> Any:
    return None if inferred(target) is None else getattr(nn, f"Lazy{target.target}")


def sized(layers: Sequence[Target], rehearsed: nn.Sequential) -> list[Target]:
    """With the sizes that lazy layers came to."""
    return [with_size(target, inferred(target), made) for target, made in zip(layers, rehearsed, strict=True)]


def with_size(target: Target, argument: str | None, made: nn.Module) -> Target:
    return target if argument is None else Target(target=target.target, **target.arguments, **{argument: size_of(made)})


def size_of(made: Any) -> int:
    """What comes in, as the layer's tensors have it: a lazy one filled from a file tells no number."""
    if isinstance(made, _NormBase):
        tensor = next((each for each in (made.weight, made.running_mean) if each is not None), None)
        return made.num_features if tensor is None else len(tensor)
    if isinstance(made, _ConvTransposeNd):
        return int(made.weight.shape[0])
    return int(made.weight.shape[1]) * (made.groups if isinstance(made, _ConvNd) else 1)
