"""Device, precision and gradient synchronisation: accelerate's, with what it would guess wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import GradientAccumulationPlugin

from launcher.spec.train import Train
from launcher.worker.errors import WorkerError
from launcher.worker.world import World


def make_accelerator(spec: Train, world: World) -> Accelerator:
    """Device, precision and gradient synchronisation."""
    precision = world.broadcast(choose_precision(spec.precision, world.device))  # GPUs of several kinds would differ
    ddp = DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)
    with unranked() if world.world_size == 1 else nullcontext():
        return Accelerator(
            cpu=world.device.type == "cpu", mixed_precision=precision, kwargs_handlers=[ddp],
            gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        )  # fmt: skip


@contextmanager
def unranked() -> Iterator[None]:
    """Without LOCAL_RANK, which torchrun sets for a single process too, and which accelerate takes for several."""
    kept = os.environ.pop("LOCAL_RANK", None)
    try:
        yield
    finally:
        if kept is not None:
            os.environ["LOCAL_RANK"] = kept


def choose_precision(wanted: str, device: torch.device) -> str:
    """In accelerate's words. Raises WorkerError."""
    if wanted == "auto":
        return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "no"
    if wanted == "fp16" and device.type == "cpu":
        raise WorkerError("train.precision: fp16 needs a GPU; on the CPU write bf16 or fp32", kind="spec")
    return {"fp32": "no", "fp64": "no"}.get(wanted, wanted)
