"""Tables that come with scikit-learn: iris, wine, breast_cancer (classes) and diabetes (a number)."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from launcher.worker.data.arrays import Prepared, dataset


def table(*, name: str, split: str = "train", normalize: bool = True, targets_are: str = "auto") -> Prepared:
    """Inputs (features) in float32, and classes in int64 or numbers (1) in float32."""
    return dataset(*loaded(name), split=split, normalize=normalize, targets_are=targets_are)


def diabetes(*, split: str = "train", normalize: bool = True, normalize_target: bool = False) -> Prepared:
    """The progression of the disease after a year, from 25 to 346, or with mean 0 and deviation 1 in the training part."""
    inputs, progress = loaded("diabetes")
    found = dataset(inputs, progress, split=split, normalize=normalize)
    if not normalize_target:
        return found
    inputs, scaled = found.tensors[0], dataset(progress[:, None], progress, split=split, normalize=True).tensors[0]
    return Prepared(inputs, scaled, statistics=found.statistics)


def loaded(name: str) -> tuple[Any, Any]:
    return getattr(import_module("sklearn.datasets"), f"load_{name}")(return_X_y=True)  # type: ignore[no-any-return]
