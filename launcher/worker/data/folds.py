"""Cross-validation: one part of a data set is held out, the others are learned from.

The split indices are scikit-learn's: StratifiedKFold(shuffle=True, random_state=0) where the targets are classes, else KFold.
"""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sized
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch.utils.data import Subset

from launcher.spec.target import Target
from launcher.worker.data.arrays import Prepared, Statistics
from launcher.worker.data.classes import kept
from launcher.worker.errors import WorkerError
from launcher.worker.losses import TARGET_KEYS
from launcher.worker.targets import built, builtin

FIELD = "train.data.train"
SHUFFLE_SEED = 0
FITTED = ("normalize", "normalize_target")
"""Arguments by which a data set takes statistics of its inputs and its targets: here they are the training part's alone."""


def fold(*, of: dict[str, Any], fold: int, folds: int, split: str) -> Subset[Any]:
    """The `train` or `val` part of the data set that `of` names. Raises WorkerError where it has no length."""
    # A data set of the user's own may mean something else by the name; the mean and deviation of digits are constants.
    fits = builtin("data", Target.model_validate(of)) and of["target"] != "digits"
    asked = [fits and of.get(name) is True for name in FITTED]
    raw = {name: False for name, wanted in zip(FITTED, asked, strict=True) if wanted}
    dataset = built("data", Target.model_validate({**of, **raw}), FIELD)
    if not isinstance(dataset, Sized) or not hasattr(dataset, "__getitem__"):
        raise WorkerError(f"{FIELD}: folds need a data set with a length and items, and {of['target']} is a stream", kind="spec")
    if len(dataset) < folds:
        raise WorkerError(f"sweep.folds: {of['target']} has {len(dataset)} samples, fewer than {folds} folds", kind="spec")
    learned, held_out = indices(classes(dataset), len(dataset), folds)[fold]
    if any(asked) and isinstance(dataset, Prepared):
        fitted = [
            Statistics.of(tensor[learned]) if wanted else None for tensor, wanted in zip(dataset.tensors, asked, strict=True)
        ]
        inputs, targets = (
            each.normalized(tensor) if each else tensor for tensor, each in zip(dataset.tensors, fitted, strict=True)
        )
        dataset = Prepared(inputs, targets, statistics=fitted[0], names=dataset.names)
    return Subset(dataset, (learned if split == "train" else held_out).tolist())


def indices(targets: np.ndarray | None, samples: int, folds: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(learned from, held out) of each fold."""
    from sklearn.model_selection import KFold, StratifiedKFold

    if targets is not None and np.unique(targets, return_counts=True)[1].min() >= folds:
        return list(StratifiedKFold(folds, shuffle=True, random_state=SHUFFLE_SEED).split(np.zeros(samples), targets))
    return list(KFold(folds, shuffle=True, random_state=SHUFFLE_SEED).split(np.zeros(samples)))


def classes(dataset: Any) -> np.ndarray | None:
    """One class for each sample; None where the targets are something else."""
    found = kept(dataset)
    try:
        targets = one_by_one(dataset) if found is None else np.asarray(found)
    except ValueError:  # of many lengths
        return None
    return targets if targets is not None and targets.ndim == 1 and targets.dtype.kind in "iub" else None


@lru_cache(maxsize=1)
def one_by_one(dataset: Any) -> np.ndarray | None:
    """None at the first target that is more than a number."""
    found = []
    for index in range(len(dataset)):
        target = target_of(dataset[index])
        if not isinstance(target, numbers.Number):
            return None
        found.append(target)
    return np.asarray(found)


def target_of(item: Any) -> Any:
    """A number as Python has it; None where an item has no target that is known as one."""
    if isinstance(item, Mapping):
        target = next((item[key] for key in TARGET_KEYS if key in item), None)
    else:
        target = item[1] if isinstance(item, tuple | list) and len(item) > 1 else None
    if isinstance(target, torch.Tensor | np.ndarray | np.generic) and target.ndim == 0:
        return target.item()
    return target
