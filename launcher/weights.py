"""What `train.weights` means where `launch` is called: job.yaml has the absolute path of the run, checkpoint or file, and stays
the same job wherever and whenever it is read."""

from __future__ import annotations

import os
from pathlib import Path

from launcher.checkpoints import MANIFEST, checkpoints
from launcher.errors import UsageError
from launcher.rundir import RunDir
from launcher.runs import find_run, is_run
from launcher.spec import Job
from launcher.spec.weights import OF_TORCHVISION

FILES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")


def settled(job: Job, runs: Path, *, later: bool = False) -> Job:
    """The job with its weights' place in full. `later`: another run is waited for, which may be the one they come from.

    Raises UsageError where there is no such run or file, or a run without a checkpoint.
    """
    text = job.train.weights if job.train else None
    if job.train is None or text is None or OF_TORCHVISION.fullmatch(text):
        return job
    path = place(text, Path(job.workdir), runs)
    if is_run(path) and not later and not checkpoints(RunDir(path)):
        raise UsageError(f"train.weights: run {path.name} has no checkpoint yet")
    return job.model_copy(update={"train": job.train.model_copy(update={"weights": str(path)})})


def place(text: str, workdir: Path, runs: Path) -> Path:
    """Raises UsageError."""
    path = workdir / os.path.expanduser(text)  # noqa: PTH111  # works without a home
    named = "/" not in text and not text.endswith(FILES)
    try:
        if named or not path.exists():
            return find_run(text, runs).path
    except UsageError as error:
        if not named:
            raise UsageError(f"train.weights: there is no file, checkpoint or run {path}") from None
        if not path.exists():
            raise UsageError(f"train.weights: {error}. Or name a file (./{text})") from None
    if path.is_dir() and not is_run(path) and not (path / MANIFEST).is_file():
        raise UsageError(f"train.weights: {path} is a folder that is neither a run nor a checkpoint of one")
    return path.absolute()
