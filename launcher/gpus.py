"""This machine's GPUs, as the driver tells of them. No CUDA call: it would cost a second and a context."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

NVIDIA = Path("/proc/driver/nvidia/gpus")


def driver_gpus() -> list[Path]:
    """A folder for each that the driver knows."""
    return sorted(NVIDIA.iterdir()) if NVIDIA.is_dir() else []


def visible_gpus(environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """What CUDA_VISIBLE_DEVICES names, else all that the driver knows."""
    named = environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return tuple(gpu.strip() for gpu in named.split(",") if gpu.strip() and gpu.strip() != "-1")
    return tuple(str(index) for index in range(len(driver_gpus())))
