"""Two samples of each set that will be evaluated, before the first step: what does not fit is not found an epoch later."""

from __future__ import annotations

import numpy as np
import torch

from launcher.worker import batch_norm
from launcher.worker.build import Training
from launcher.worker.data.loader import MapLoader
from launcher.worker.data.nested import tensors
from launcher.worker.ddp import kept_buffers, put_back
from launcher.worker.evaluate import judged
from launcher.worker.first_batch import told
from launcher.worker.modes import evaluating

SAMPLES = 2


def rehearse(training: Training) -> None:
    """A collective where a batch norm's forward is one: every rank takes the same samples. Raises WorkerError.

    The model is left as it was. Of streams nothing is read ahead.
    """
    kept, attributes = kept_buffers(training.model), [(module, dict(vars(module))) for module in training.model.modules()]
    with batch_norm.agreed(training.model, training.world), evaluating(training.model), torch.no_grad():
        for split, loader in training.loaders.items():
            if split == "train" or not isinstance(loader, MapLoader):
                continue
            batch = loader.some(SAMPLES)
            training.measures.start()
            with told(training, batch, split=split):
                judged(training, batch, np.arange(len(next(tensors(batch)))), first_of=split)
    for module, as_before in attributes:
        vars(module).update(as_before)
    put_back(kept)
