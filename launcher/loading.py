"""A run's model in your own program: launcher.load_model. The one module of the Python face that needs torch."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from launcher.errors import BackendError, LaunchError, UsageError
from launcher.rundir import RunDir
from launcher.runs import find_run, runs_folder

if TYPE_CHECKING:
    from torch import nn


def load_model(run: Any, *, checkpoint: str | None = None, device: str = "cpu") -> nn.Module:
    """The trained module in eval mode; `run`: what `launcher.open` takes, or gives.

    Of the best checkpoint where `keep_best` or `restore_best` is set, else of the newest; `checkpoint`: such as `step-00000120`.
    Averaged weights where `train.ema` is what was evaluated. The job's workdir becomes importable, for a model of your own.
    Raises UsageError where there is no such run or checkpoint, or where it does not fit.
    """
    import torch

    from launcher.worker.errors import WorkerError
    from launcher.worker.job import read_job
    from launcher.worker.trained import trained_model

    directory = getattr(run, "directory", None) or find_run(os.fspath(run), runs_folder())
    assert isinstance(directory, RunDir)
    try:
        return trained_model(directory, read_job(directory), checkpoint, torch.device(device))
    except WorkerError as error:
        kinds: dict[str, type[LaunchError]] = {"spec": UsageError, "environment": BackendError}
        raise kinds.get(error.kind, LaunchError)(str(error)) from error
