"""Which rank ran where, proven before the first step and kept with each attempt: results may change with nodes and GPUs."""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist

from launcher.rundir import RunDir, write_json
from launcher.worker.errors import WorkerError
from launcher.worker.world import World

FILE = "devices.json"


def keep(run: RunDir, world: World) -> None:
    """Writes logs/attempt-N/devices.json. A collective. Raises WorkerError on all ranks where they do not fit together."""
    ranks = world.gather(described(world))
    prove(ranks)
    if world.first:
        write_json(run.attempt(world.attempt) / FILE, ranks)


def described(world: World) -> dict[str, Any]:
    gpu = world.device.type == "cuda"
    return {
        "rank": world.rank,
        "world_size": dist.get_world_size() if dist.is_initialized() else 1,
        "host": socket.gethostname(),
        "device": str(world.device),
        "name": torch.cuda.get_device_name(world.device) if gpu else None,
        "memory_bytes": torch.cuda.get_device_properties(world.device).total_memory if gpu else None,
        "uuid": str(getattr(torch.cuda.get_device_properties(world.device), "uuid", world.device)) if gpu else None,
        "threads": torch.get_num_threads(),
        "cpus": sorted(os.sched_getaffinity(0)),
        "torch": torch.__version__,
    }


def prove(ranks: Sequence[Mapping[str, Any]]) -> None:
    """As many ranks as each believes, each once, each on a device of its own, with the same torch and threads.

    Raises WorkerError, naming the odd one out.
    """
    for each in ranks:
        if each["world_size"] != len(ranks):
            raise unlike(each, f"believes that there are {each['world_size']} ranks, and there are {len(ranks)}")
    number, times = Counter(each["rank"] for each in ranks).most_common(1)[0]
    if times > 1:
        hosts = " and ".join(each["host"] for each in ranks if each["rank"] == number)
        raise WorkerError(f"{times} ranks are rank {number}, on {hosts}: RANK must differ", kind="environment")
    taken: dict[tuple[str, str], int] = {}
    for each in ranks:
        if each["uuid"] is not None and (other := taken.setdefault((each["host"], each["uuid"]), each["rank"])) != each["rank"]:
            raise unlike(each, f"has the same GPU as rank {other}. See CUDA_VISIBLE_DEVICES and LOCAL_RANK there")
    for name, words in (("torch", "torch {}"), ("threads", "{} threads, which change the last bits of a sum")):
        usual = Counter(each[name] for each in ranks).most_common(1)[0][0]
        for each in ranks:
            if each[name] != usual:
                raise unlike(each, f"has {words.format(each[name])}; other ranks have {usual}")


def unlike(each: Mapping[str, Any], what: str) -> WorkerError:
    return WorkerError(f"rank {each['rank']} on {each['host']} {what}", kind="environment")
