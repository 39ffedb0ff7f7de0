"""A run's model as it was trained: built anew, filled from a checkpoint, in eval mode."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from launcher.rundir import RunDir
from launcher.spec import Job
from launcher.worker import batch_norm
from launcher.worker.chosen import choose
from launcher.worker.network import make_model
from launcher.worker.restore import fill, stored_weights
from launcher.worker.world import World


def trained_model(run: RunDir, job: Job, checkpoint: str | None, device: torch.device) -> nn.Module:
    """Of the named checkpoint, else the best where one is kept, else the newest. Leaves torch's generator alone.

    Raises WorkerError.
    """
    assert job.train is not None
    folder = run.checkpoints / choose(run, job, checkpoint)
    _, state = stored_weights(folder)
    with torch.random.fork_rng(devices=[]):
        like = {name: value for name, value in state.items() if isinstance(value, Tensor)}
        model = make_model(job.train, job.seed, World(device=device), like=like)
    fill(folder, model, state)
    batch_norm.unsynchronize(model)
    return model.eval()
