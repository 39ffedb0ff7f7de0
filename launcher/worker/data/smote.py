"""New samples of rare classes, made once from the training set by imbalanced-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.utils.data import TensorDataset

from launcher.spec.target import Target
from launcher.worker.data.fetch import in_memory
from launcher.worker.errors import WorkerError
from launcher.worker.randomness import SMOTE, key
from launcher.worker.targets import call, found
from launcher.worker.world import World

FIELD = "train.data.smote"


def resampled(dataset: Any, target: Target, seed: int, world: World) -> TensorDataset:
    """The samples there are, then the new ones. A collective: rank 0 makes them, since another CPU may round otherwise, and find
    other neighbours. Raises WorkerError for data that are no arrays, or a class of too few samples."""
    tensors = in_memory(dataset)
    if tensors is None or len(tensors) != 2 or not tensors[0].is_floating_point() or tensors[1].dtype != torch.int64:
        raise WorkerError(f"{FIELD} wants arrays: a TensorDataset of numbers and classes, such as csv, npz or digits give. "
                          "Write train.data.sampling instead", kind="spec")  # fmt: skip
    make = found("smote", target, FIELD)
    inputs, classes = tensors
    result: tuple[np.ndarray, np.ndarray] | WorkerError | None = None
    if world.first:
        try:
            maker = call(make, target, FIELD, random_state=key(SMOTE, seed), **target.arguments)
            result = call(maker.fit_resample, target, FIELD, inputs.flatten(1).numpy(), classes.numpy())
        except WorkerError as error:
            result = error
    result = world.broadcast(result)
    if isinstance(result, WorkerError):
        raise result
    assert result is not None
    new_inputs = torch.from_numpy(np.asarray(result[0], np.float32)).view(-1, *inputs.shape[1:]).to(inputs.dtype)
    return TensorDataset(new_inputs, torch.from_numpy(np.asarray(result[1], np.int64)))
