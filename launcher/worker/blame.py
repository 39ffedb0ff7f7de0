"""Whose error it was: an exception of the user's code, told with what it was about."""

from __future__ import annotations

import re
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from launcher.worker.errors import Kind, WorkerError

INSTALLED = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
"""Also those of the user's home, and of another environment that this one borrows from."""
NOT_THE_USERS = (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), "<",
                 str(Path(__file__).parents[1]), *INSTALLED)  # fmt: skip

NO_MEMORY = re.compile(
    r"Allocator: can't allocate memory|CUDA error: out of memory|\bCU\w+_ALLOC\w*_FAILED"
    r"|Cuda failure \d* ?'out of memory'|Triton Error \[CUDA\]: out of memory"
)
"""What torch says where it raises no OutOfMemoryError: on the CPU; of CUDA; of cuBLAS, cuDNN and their kin; of NCCL, Triton."""
NO_ENGINE = "unable to find an engine to execute this computation"
"""What convolutions say where cuDNN has none for them, and also where memory ran out in each that it has."""


def raised(error: Exception, what: str, *, kind: Kind = "error") -> WorkerError:
    """An error to raise from the user's: keep what is already told."""
    if isinstance(error, WorkerError):
        return error
    return WorkerError(f"{what}: {described(error)}", kind=kind, details=located(error))


def described(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def located(error: BaseException) -> dict[str, Any]:
    """file:line of the last frame in the user's own code, where there is one."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(NOT_THE_USERS)]
    return {"where": f"{frames[-1].filename}:{frames[-1].lineno}"} if frames else {}


def out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or (isinstance(error, RuntimeError) and bool(NO_MEMORY.search(str(error))))


KNOWN: dict[torch.device, int] = {}
"""Failed allocations that were told of already. Not asked for before each step: the answer would cost a small one too much."""


@contextmanager
def memory_blamed(device: torch.device) -> Iterator[None]:
    """Around a forward and its backward. Raises OutOfMemoryError where that is why cuDNN found no engine."""
    try:
        yield
    except RuntimeError as error:
        before, KNOWN[device] = KNOWN.get(device, 0), failed_allocations(device)
        if NO_ENGINE in str(error) and KNOWN[device] > before:
            raise torch.OutOfMemoryError(str(error)) from error
        raise


def failed_allocations(device: torch.device) -> int:
    return int(torch.cuda.memory_stats_as_nested_dict(device).get("num_ooms", 0)) if device.type == "cuda" else 0


def peer_is_gone(error: Exception) -> bool:
    """Another rank is gone: its error is the one to tell."""
    return isinstance(error, dist.DistError) or "gloo" in str(error).lower() or "Connection" in str(error)
