"""Cross-validation: one part of a data set is held out, the others are learned from.

The split indices are scikit-learn's: StratifiedKFold(shuffle=True, random_state=0) where the targets are classes, else KFold.
"""

from __future__ import annotations

from collections.abc import Sized
from functools import lru_cache
from typing import Any

import numpy as np
from torch.utils.data import Subset, TensorDataset

from launcher.spec.target import Target
from launcher.worker.data.arrays import normalized
from launcher.worker.data.fetch import in_memory
from launcher.worker.errors import WorkerError
from launcher.worker.targets import built

FIELD = "train.data.train"
SHUFFLE_SEED = 0


FITTED = ("normalize", "normalize_target")
"""Arguments by which a data set takes statistics of its inputs and its targets: here they are the training part's alone."""


def fold(*, of: dict[str, Any], fold: int, folds: int, split: str) -> Subset[Any]:
    """The `train` or `val` part of the data set that `of` names. Raises WorkerError where it has no length."""
    fits = of["target"] != "digits"  # whose mean and deviation are constants
    asked = [fits and of.get(name) is True for name in FITTED]
    raw = {name: False for name, wanted in zip(FITTED, asked, strict=True) if wanted}
    dataset = built("data", Target.model_validate({**of, **raw}), FIELD)
    if not isinstance(dataset, Sized) or not hasattr(dataset, "__getitem__"):
        raise WorkerError(f"{FIELD}: folds need a data set with a length and items, and {of['target']} is a stream", kind="spec")
    if len(dataset) < folds:
        raise WorkerError(f"sweep.folds: {of['target']} has {len(dataset)} samples, fewer than {folds} folds", kind="spec")
    learned, held_out = indices(classes(dataset), len(dataset), folds)[fold]
    if any(asked) and isinstance(dataset, TensorDataset):
        tensors = [
            normalized(tensor, tensor[learned]) if wanted else tensor
            for tensor, wanted in zip(dataset.tensors, asked, strict=True)
        ]
        dataset = TensorDataset(*tensors)
    return Subset(dataset, (learned if split == "train" else held_out).tolist())


def indices(targets: np.ndarray | None, samples: int, folds: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(learned from, held out) of each fold."""
    from sklearn.model_selection import KFold, StratifiedKFold

    if targets is not None and np.bincount(targets).max(initial=0) > 0 and smallest(targets) >= folds:
        return list(StratifiedKFold(folds, shuffle=True, random_state=SHUFFLE_SEED).split(np.zeros(samples), targets))
    return list(KFold(folds, shuffle=True, random_state=SHUFFLE_SEED).split(np.zeros(samples)))


def smallest(targets: np.ndarray) -> int:
    counts = np.bincount(targets)
    return int(counts[counts > 0].min())


def classes(dataset: Any) -> np.ndarray | None:
    """One class for each sample; None where the targets are something else."""
    tensors = in_memory(dataset)
    targets = tensors[1].numpy() if tensors is not None and len(tensors) > 1 else np.asarray(one_by_one(dataset))
    whole = targets.ndim == 1 and np.issubdtype(targets.dtype, np.integer) and targets.min(initial=0) >= 0
    return targets.astype(np.int64) if whole else None


@lru_cache(maxsize=1)
def one_by_one(dataset: Any) -> tuple[Any, ...]:
    def target(item: Any) -> Any:
        chosen = item["target"] if isinstance(item, dict) else item[1]
        return chosen.item() if getattr(chosen, "ndim", 1) == 0 else chosen

    return tuple(target(dataset[index]) for index in range(len(dataset)))
