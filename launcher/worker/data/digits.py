"""scikit-learn's digits: 1,797 grey images of 8 x 8 from 43 writers, real data that comes with a dependency."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from sklearn.datasets import load_digits
from torch.utils.data import TensorDataset

from launcher.worker.data.arrays import members

MEAN, STD = 0.3053, 0.3760
"""Of all pixels, as shares of the largest value (16)."""


def digits(
    *, split: str = "train", size: int = 8, flatten: bool = False, normalize: bool = True, classes: list[int] | None = None,
    imbalance: int | None = None, per_class: int | None = None,
) -> TensorDataset:  # fmt: skip
    """Images (1, size, size) in float32, or `flatten`ed, and classes in int64: the digits, or of `classes` the places there.

    The 80/20 split is by class and always the same: 1,437 for training, 360 for validation. The training part can be made harder:
    by an `imbalance` of 20, classes 5 to 9 keep one sample in 20; and every class keeps at most `per_class`.
    """
    pixels, labels = load_digits(return_X_y=True)
    chosen = members(len(labels), split, labels)
    if classes is not None:
        chosen = chosen[np.isin(labels[chosen], classes)]
    if split == "train":
        chosen = fewer(chosen, labels[chosen], imbalance, per_class)
    images = torch.from_numpy(pixels[chosen] / 16).float().view(-1, 1, 8, 8)
    if size != 8:
        images = F.interpolate(images, size=(size, size), mode="bilinear", align_corners=False)
    if normalize:
        images = (images - MEAN) / STD
    targets = labels[chosen] if classes is None else places(labels[chosen], classes)
    return TensorDataset(images.flatten(1) if flatten else images, torch.from_numpy(targets).long())


def places(labels: np.ndarray, classes: list[int]) -> np.ndarray:
    """`[5, 6]`: 5 becomes class 0, and 6 class 1."""
    table = np.zeros(10, np.int64)
    table[classes] = np.arange(len(classes))
    return np.asarray(table[labels])


def fewer(chosen: np.ndarray, labels: np.ndarray, imbalance: int | None, per_class: int | None) -> np.ndarray:
    """Of each class the first ones, in their order."""
    parts = [chosen[labels == kind] for kind in range(10)]
    kept = [part[: -(-len(part) // (imbalance or 1))] if kind >= 5 else part for kind, part in enumerate(parts)]
    return np.sort(np.concatenate([part[:per_class] for part in kept]))
