"""What each rank holds by itself, brought to rank 0: random states, and buffers that differ between ranks."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from launcher.worker import generators
from launcher.worker.world import World

RUNNING = ("running_mean", "running_var")


@dataclass(frozen=True, kw_only=True)
class RankState:
    random: dict[str, Any] = field(default_factory=generators.capture)
    buffers: dict[str, Tensor] = field(default_factory=dict)
    """On the host: the module's buffers that are not the same everywhere, such as batch norm's where it is not synchronised."""


def collect(model: nn.Module, world: World) -> list[RankState]:
    """Every rank's, on rank 0; nothing elsewhere. A collective."""
    if world.world_size == 1:
        return [RankState()]
    buffers = persistent_buffers(model)
    own = RankState(buffers={name: buffers[name].cpu() for name in differing(buffers, world)})
    gathered: list[Any] | None = [None] * world.world_size if world.first else None
    dist.gather_object(own, gathered, dst=0)
    return gathered or []


def agreed(ranks: list[RankState]) -> dict[str, Tensor]:
    """Of the buffers that differ, one for evaluation: the mean of batch norm's running statistics, rank 0's of others."""
    if not ranks:
        return {}
    return {
        name: torch.stack([each.buffers[name].double() for each in ranks]).mean(0).to(first.dtype)
        if name.endswith(RUNNING)
        else first
        for name, first in ranks[0].buffers.items()
    }


def persistent_buffers(model: nn.Module) -> dict[str, Tensor]:
    kept = model.state_dict().keys()
    return {name: buffer.detach() for name, buffer in model.named_buffers() if name in kept}


def differing(buffers: dict[str, Tensor], world: World) -> list[str]:
    """Names of those that are not bit for bit the same on every rank."""
    of_ranks = world.gather([digest(buffer) for buffer in buffers.values()])
    return [name for name, *digests in zip(buffers, *of_ranks, strict=True) if len(set(digests)) > 1]


def digest(tensor: Tensor) -> bytes:
    flat = tensor.cpu().contiguous().reshape(-1)
    return hashlib.sha256(flat.view(torch.uint8).numpy().data).digest()
