"""Which rank ran where, kept with each attempt: nodes and GPUs may change between attempts, and results with them."""

from __future__ import annotations

import socket
from typing import Any

import torch

from launcher.rundir import RunDir, write_json
from launcher.worker.world import World

FILE = "devices.json"


def keep(run: RunDir, world: World) -> None:
    """Writes logs/attempt-N/devices.json. A collective."""
    ranks = world.gather(described(world))
    if world.first:
        write_json(run.attempt(world.attempt) / FILE, ranks)


def described(world: World) -> dict[str, Any]:
    gpu = world.device.type == "cuda"
    return {
        "rank": world.rank,
        "host": socket.gethostname(),
        "device": str(world.device),
        "name": torch.cuda.get_device_name(world.device) if gpu else None,
        "memory_bytes": torch.cuda.get_device_properties(world.device).total_memory if gpu else None,
        "threads": torch.get_num_threads(),
    }
