"""torch.compile, inside the laws: a kernel is a function of its shapes, never of the shapes that came before."""

from __future__ import annotations

import logging
import os
from typing import Any

from torch import nn

from launcher.worker.batch_norm import Synchronized

MOST_SHAPES = 256
"""Of inputs, each with kernels of its own; torch would stop at 8, and which 8 would depend on where a run was resumed."""


def compile_model(model: nn.Module) -> None:
    """In place: names and state stay. What cannot be compiled runs as it is, and the reason is printed."""
    import torch._dynamo
    import torch._inductor.config

    # Chosen when the fork server imported it, by the cores of the node: a rank may be kept to few of them.
    inductor: Any = torch._inductor.config
    inductor.compile_threads = min(inductor.compile_threads, len(os.sched_getaffinity(0)))
    settings: Any = torch._dynamo.config
    settings.suppress_errors = True
    settings.recompile_limit = settings.accumulated_recompile_limit = MOST_SHAPES
    logger = logging.getLogger("torch._dynamo.convert_frame")
    if not any(isinstance(each, Told) for each in logger.filters):
        logger.addFilter(Told())
        # Gathers statistics from the other ranks, which no graph holds.
        Synchronized.normalized = torch.compiler.disable(Synchronized.normalized)  # type: ignore[method-assign, no-untyped-call]
    # A size that varies would otherwise get kernels for any size from its second value on: other bits after a resume.
    model.compile(dynamic=False)


class Told(logging.Filter):
    """Says in a line what torch tells in a hundred."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        error = record.exc_info[1] if record.exc_info else None
        first = (str(error or record.getMessage()).strip() or type(error).__name__).splitlines()[0]
        print(f"train.compile: part of the model runs without being compiled: {first}", flush=True)
        return False
