"""`python -m launcher.worker.allreduce` under launch or torchrun: how fast ranks add up, and whether they are who they should be.

Rank 0 writes allreduce.json into the run directory.
"""

from __future__ import annotations

import os
import platform
import socket
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from launcher.rundir import write_json

RESULT = "allreduce.json"
MEASURED_S = 2.0
FLOATS = {"cpu": 4 * 1024 * 1024, "cuda": 64 * 1024 * 1024}
MOST_ROUNDS = 2000
TIMEOUT = timedelta(seconds=60)


def main() -> None:
    device = own_device()
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
    try:
        told: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(told, facts(device))
        rounds, seconds, right = measured(device)
        if dist.get_rank() == 0:
            size = 4 * FLOATS[device.type]
            result = {"ranks": told, "bytes": size, "rounds": rounds, "seconds": seconds, "right": right}
            write_json(Path(os.environ["LAUNCHER_RUN_DIR"]) / RESULT, result)
    finally:
        dist.destroy_process_group()


def own_device() -> torch.device:
    local = int(os.environ["LOCAL_RANK"])
    if local >= torch.cuda.device_count():
        return torch.device("cpu")
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


def facts(device: torch.device) -> dict[str, Any]:
    """What the ranks of one training have to agree on, and where this one is."""
    dist.barrier()
    return {
        "rank": dist.get_rank(),
        "host": socket.gethostname(),
        "device": str(device) if device.type == "cpu" else f"{device} ({torch.cuda.get_device_name(device)})",
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "time": time.time(),
    }


def measured(device: torch.device) -> tuple[int, float, bool]:
    """All-reduces in about two seconds, the time that they took, and whether the sums were right."""
    numbers = torch.full((FLOATS[device.type],), float(dist.get_rank() + 1), device=device)
    world = dist.get_world_size()
    dist.all_reduce(numbers)
    right = bool((numbers == world * (world + 1) / 2).all())
    once = torch.tensor(timed(numbers, 1), device=device)
    dist.all_reduce(once, op=dist.ReduceOp.MAX)
    rounds = max(1, min(MOST_ROUNDS, int(MEASURED_S / max(once.item(), 1e-6))))
    return rounds, timed(numbers, rounds), right


def timed(numbers: torch.Tensor, rounds: int) -> float:
    numbers.fill_(0.0)
    wait(numbers)
    began = time.perf_counter()
    for _ in range(rounds):
        dist.all_reduce(numbers)
    wait(numbers)
    return time.perf_counter() - began


def wait(numbers: torch.Tensor) -> None:
    if numbers.is_cuda:
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
