"""How often each class is among the targets of a data set: what sampling, class weights and the minority follow from."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Subset

from launcher.worker.data.fetch import in_memory, numbered
from launcher.worker.errors import WorkerError
from launcher.worker.losses import target_of

ATTRIBUTES = ("targets", "labels", "_labels")
"""Where torchvision's data sets keep the classes of all samples."""
MANY = 20_000
"""Samples from which reading them all for their targets is told: it may take long."""

Classes = NDArray[np.int64]


def classes_of(dataset: Any, field: str) -> Classes:
    """The class of every sample, (samples,). Raises WorkerError where the targets are no classes.

    From memory where they are there, else by reading every sample once.
    """
    targets = kept(dataset)
    if targets is None:
        if not numbered(dataset):
            raise WorkerError(f"{field}: its samples have no numbers, so that their classes cannot be counted", kind="spec")
        if len(dataset) > MANY:
            print(f"{field}: reading {len(dataset):,} samples once for their classes", file=sys.stderr, flush=True)
        targets = [target_of(dataset[sample]) for sample in range(len(dataset))]
    try:
        classes = np.asarray(targets)
    except ValueError:
        classes = np.empty(0, object)
    if classes.dtype.kind not in "iub" or classes.ndim != 1:
        raise WorkerError(
            f"{field}: a target is {classes.dtype} of shape {list(classes.shape[1:])}, and not a class: one integer",
            kind="spec",
        )
    return classes.astype(np.int64)


def kept(dataset: Any) -> Any:
    """The targets of all samples, where the data set has them at hand."""
    tensors = in_memory(dataset)
    if tensors is not None:
        return tensors[1].numpy() if len(tensors) > 1 else None
    if type(dataset) is Subset and (whole := kept(dataset.dataset)) is not None:
        return np.asarray(whole)[np.asarray(dataset.indices)]
    for name in ATTRIBUTES:
        found = getattr(dataset, name, None)
        if isinstance(found, (list, np.ndarray, torch.Tensor)) and len(found) == len(dataset):
            return found
    return None


def counts_of(classes: Classes) -> Classes:
    """Samples of each class from 0 on; targets below 0, which losses ignore, are left out."""
    counts: Classes = np.bincount(classes[classes >= 0])
    return counts


def balanced_weights(counts: Classes) -> NDArray[np.float64]:
    """A weight per class, in inverse proportion to its frequency and 1 for the average sample (scikit-learn's "balanced").

    0 for a class without samples.
    """
    there = counts > 0
    weights = np.zeros(len(counts))
    weights[there] = counts.sum() / (there.sum() * counts[there])
    return weights
