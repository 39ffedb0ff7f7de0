"""scikit-learn's digits: 1,797 grey images of 8 x 8 from 43 writers, real data that comes with a dependency."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from sklearn.datasets import load_digits
from torch.utils.data import TensorDataset

MEAN, STD = 0.3053, 0.3760
"""Of all pixels, as shares of the largest value (16)."""
SPLIT_SEED = 0


def digits(*, split: str = "train", size: int = 8, flatten: bool = False, normalize: bool = True) -> TensorDataset:
    """Images (1, size, size) in float32, or `flatten`ed, and classes in int64.

    The 80/20 split is by class and always the same: 1,437 for training, 360 for validation.
    """
    pixels, classes = load_digits(return_X_y=True)
    chosen = members(classes, split)
    images = torch.from_numpy(pixels[chosen] / 16).float().view(-1, 1, 8, 8)
    if size != 8:
        images = F.interpolate(images, size=(size, size), mode="bilinear", align_corners=False)
    if normalize:
        images = (images - MEAN) / STD
    return TensorDataset(images.flatten(1) if flatten else images, torch.from_numpy(classes[chosen]).long())


def members(classes: np.ndarray, split: str) -> np.ndarray:
    """Indices of a split, rising: the same share of every class in both."""
    if split == "all":
        return np.arange(len(classes))
    from sklearn.model_selection import train_test_split

    train, val = train_test_split(np.arange(len(classes)), test_size=0.2, stratify=classes, random_state=SPLIT_SEED)
    return np.sort(train if split == "train" else val)
