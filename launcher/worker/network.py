"""The network of a job: built, its sizes inferred, its values drawn."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from launcher.spec.target import Target
from launcher.spec.train import Train
from launcher.worker import batch_norm
from launcher.worker.blame import described, located
from launcher.worker.data import nested
from launcher.worker.data.loader import Loader
from launcher.worker.ddp import call_model
from launcher.worker.errors import WorkerError
from launcher.worker.init import initialise
from launcher.worker.memory_format import to_channels_last
from launcher.worker.models.sequential import sequential, sized
from launcher.worker.modes import evaluating
from launcher.worker.randomness import seed_model
from launcher.worker.targets import built, builtin, found
from launcher.worker.world import World

SAMPLES = 2
"""Of which sizes are inferred."""
OF_USERS = Target(target="layers")


def make_model(
    spec: Train, seed: int, world: World, *, loader: Loader | None = None, like: Mapping[str, Tensor] | None = None
) -> nn.Module:
    """The same weights on every rank, and those that a module written by hand has after torch.manual_seed(seed).

    Sizes that are left to be inferred are taken from `loader`, of the training set, or from `like`, a checkpoint's tensors.
    """
    target = spec.model
    make = found("model", target, "train.model")
    seed_model(seed)
    model = built("model", target, "train.model")
    if not isinstance(model, nn.Module):
        raise WorkerError(f"train.model: {make} gives a {type(model).__name__}, not a torch.nn.Module", kind="spec")
    if is_lazily_sized(model):
        model = with_sizes(model, target, seed, loader.some(SAMPLES) if loader is not None else None, like or {})
    initialise(model, spec.init)
    synchronize_batch_norm(model, spec, world)
    model.to(world.device, torch.float64 if spec.precision == "fp64" else None)
    if spec.channels_last:
        to_channels_last(model)
    return model


def is_lazily_sized(model: nn.Module) -> bool:
    return any(map(is_lazy, [*model.parameters(), *model.buffers()]))


def with_sizes(model: nn.Module, target: Target, seed: int, batch: Any, like: Mapping[str, Tensor]) -> nn.Module:
    """The model after it has met the tensors, or else the batch. Raises WorkerError where the batch does not go through."""
    if like:
        model.load_state_dict(like)
    else:
        rehearse(model, target, batch)
    if not (builtin("model", target) and isinstance(model, nn.Sequential)):
        return model
    seed_model(seed)
    again = sequential(layers=sized(target.arguments["layers"], model))
    if is_lazily_sized(again):  # a layer of the user's own
        return with_sizes(again, OF_USERS, seed, batch, like)
    return again


def rehearse(model: nn.Module, target: Target, batch: Any) -> None:
    batch = nested.on_device(batch, torch.device("cpu"), torch.get_default_dtype())
    reached: list[str] = []
    noting = [  # in front of a lazy layer's own hook, which may fail
        module.register_forward_pre_hook(
            lambda _, given, name=name: reached.append(f"{name} gets {nested.described(given)}"), prepend=True
        )
        for name, module in model.named_children()
    ]
    try:
        with evaluating(model), torch.no_grad():
            call_model(model, tuple(inspect.signature(model.forward).parameters), batch)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise WorkerError(
            f"train.model ({target.target}): its sizes cannot be inferred, since the first batch does not go through: "
            f"{described(error)}. train.data.train gives {nested.described(batch)}"
            + (f"; layer {reached[-1]}" if reached else ""),
            kind="spec", details=located(error),
        ) from error  # fmt: skip
    finally:
        for each in noting:
            each.remove()


def synchronize_batch_norm(model: nn.Module, spec: Train, world: World) -> None:
    ranks = world.world_size if spec.sync_batch_norm else 1
    left = batch_norm.synchronize(model, ranks=ranks)
    if left and ranks > 1 and world.first:
        print(
            f"train.sync_batch_norm: {', '.join(left)} of train.model ({spec.model.target}) have a forward of their own: there "
            "each rank normalises its own samples",
            flush=True,
        )
