"""Whose error it was: an exception of the user's code, told with what it was about."""

from __future__ import annotations

import sys
import sysconfig
import traceback
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from launcher.worker.errors import Kind, WorkerError

INSTALLED = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
"""Also those of the user's home, and of another environment that this one borrows from."""
NOT_THE_USERS = (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), "<",
                 str(Path(__file__).parents[1]), *INSTALLED)  # fmt: skip


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
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error) and "Allocator" in str(error)
    )


def peer_is_gone(error: Exception) -> bool:
    """Another rank is gone: its error is the one to tell."""
    return isinstance(error, dist.DistError) or "gloo" in str(error).lower() or "Connection" in str(error)
