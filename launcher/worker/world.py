"""Who this process is among the ranks, and the few ways in which they talk apart from gradients.

Read once from torchrun's environment; without it the process is the only rank.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from launcher.rundir import RunDir
from launcher.spec import Job
from launcher.spec.retry import Retry
from launcher.worker.errors import WorkerError
from launcher.worker.heap import keep_what_is_freed

T = TypeVar("T")
CPU = torch.device("cpu")
TOGETHER_S = 30.0
"""How long rank 0 is waited for in one collective."""
WATCH_FIRST_S = 120.0
"""From the end of the hang watch's patience: it asks all ranks where they are, and waits for their answers."""


@dataclass(frozen=True, kw_only=True)
class World:
    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    """Among the ranks of its node."""
    local_world_size: int = 1
    device: torch.device = CPU
    attempt: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes."""
        return self.rank == 0

    def sum(self, values: list[float]) -> list[float]:
        """Element by element over all ranks, in float64."""
        if self.world_size == 1:
            return values
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total)
        return total.tolist()

    def gather(self, value: T) -> list[T]:
        """Every rank's value, by rank, on every rank."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values

    def broadcast(self, value: T) -> T:
        """Rank 0's value on every rank."""
        if self.world_size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    def await_first(self, ready: Callable[[float], bool]) -> None:
        """Until rank 0 is `ready`, asked with the seconds for which it may wait before it answers. A collective.

        However long its disk takes, the others never wait longer than TOGETHER_S in one collective.
        """
        while self.sum([float(self.first and not ready(TOGETHER_S))])[0]:
            pass

    def by_first(self, work: Callable[[], T]) -> T:
        """On every rank what `work` gives on rank 0, which alone does it, and may take its time. A collective."""
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(work) if self.first else None
            self.await_first(lambda patience_s: future is None or bool(wait([future], patience_s).done))
            return self.broadcast(future.result() if future is not None else None)  # type: ignore[return-value]


def detect(environ: Mapping[str, str], device: str) -> World:
    """The world of torchrun's variables. Raises WorkerError where the device is not there."""
    local_rank = int(environ.get("LOCAL_RANK", "0"))
    return World(
        rank=int(environ.get("RANK", "0")),
        world_size=int(environ.get("WORLD_SIZE", "1")),
        local_rank=local_rank,
        local_world_size=int(environ.get("LOCAL_WORLD_SIZE", "1")),
        device=choose_device(device, local_rank),
        attempt=int(environ.get("LAUNCHER_ATTEMPT", "0")) or 1 + int(environ.get("TORCHELASTIC_RESTART_COUNT", "0")),
    )


def counted(world: World, run: RunDir) -> World:
    """The world with an attempt's number of its own, where no agent gave it one: torchrun counts its restarts from 0 each time
    that it is started. A collective."""
    if "LAUNCHER_ATTEMPT" in os.environ:
        return world
    return replace(world, attempt=world.broadcast(max(run.attempts(), default=0) + 1))


def choose_device(wanted: str, local_rank: int) -> torch.device:
    if wanted == "cpu":
        return CPU
    if torch.cuda.is_available():
        if local_rank >= torch.cuda.device_count():
            raise WorkerError(
                f"local rank {local_rank} wants a GPU of its own, and this node shows {torch.cuda.device_count()}. "
                "Write resources.procs_per_node: auto, or resources.device: cpu",
                kind="environment",
            )
        return torch.device("cuda", local_rank)
    if wanted == "cuda":
        raise WorkerError(
            "resources.device asks for cuda, and torch sees no GPU here. Look at nvidia-smi and CUDA_VISIBLE_DEVICES, "
            "or write resources.device: auto",
            kind="environment",
        )
    return CPU


def set_threads(job: Job, world: World) -> None:
    """As many CPU threads as job.yaml says: their number changes the last bits of a sum."""
    wanted = job.resources.threads
    threads = wanted if wanted != "auto" else max(1, (os.cpu_count() or 1) // world.local_world_size)
    # accelerate would otherwise choose a number of its own, and warn.
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    torch.set_num_threads(threads)


def patience_s(wanted_s: float, retry: Retry) -> float:
    """Of a collective. Where it would give up with the hang watch, that comes first, once a step was made: it keeps the stacks of
    all ranks, while a collective times out on the ranks that wait, and not on the one that hangs."""
    watch_s = retry.hang_timeout.seconds
    return wanted_s if wanted_s < watch_s or not watch_s else max(wanted_s, watch_s + WATCH_FIRST_S)


@contextmanager
def joined(job: Job) -> Iterator[World]:
    """This process among its peers. Left by an exception, it stays: its peers are dying too, and parting from them can block."""
    world = detect(os.environ, job.resources.device)
    set_threads(job, world)
    if world.device.type == "cuda":
        torch.cuda.set_device(world.device)
    else:
        keep_what_is_freed()
    if world.world_size > 1:
        assert job.train is not None
        backend = "cpu:gloo,cuda:nccl" if world.device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=timedelta(seconds=patience_s(job.train.timeout.seconds, job.retry)))
    yield world
    if world.world_size > 1:
        # Without it gloo's threads can abort the process at exit.
        dist.destroy_process_group()


PREPARING = timedelta(days=1)
"""What a download may take; the training's own collectives wait no longer than the job says."""


@contextmanager
def first_on_node(world: World) -> Iterator[None]:
    """Rank 0 goes through alone, then one rank of each other node, then the rest.

    So what is prepared on a shared disk is prepared once, and on node-local disks once per node, without knowing which it is.
    """
    if world.world_size == 1:
        yield
        return
    group = dist.new_group(timeout=PREPARING, backend="gloo")
    assert isinstance(group, dist.ProcessGroup)
    turn = 0 if world.first else 1 if world.local_rank == 0 else 2
    for _ in range(turn):
        dist.barrier(group)
    yield
    for _ in range(turn, 2):
        dist.barrier(group)
    dist.destroy_process_group(group)
