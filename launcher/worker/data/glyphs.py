"""Rows of hand-written digits side by side, read column by column: sequences that nobody aligned with their labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.utils.data import Dataset

from launcher.worker.data.arrays import members
from launcher.worker.data.digits import MEAN, STD

SIDE = 8
"""Pixels of a digit's height and width."""
WIDEST_GAP = 3


class Glyphs(Dataset[Any]):
    """Items are mappings: input (T, 8), a time step for each column, and target (longest,), both padded; input_lengths and
    target_lengths say how much of them is real."""

    def __init__(self, *, samples: int = 1000, split: str = "train", shortest: int = 2, longest: int = 6, seed: int = 0) -> None:
        pixels, classes = load_digits(return_X_y=True)
        chosen = members(len(classes), split, classes)
        self.images = torch.from_numpy((pixels[chosen] / 16 - MEAN) / STD).float().view(-1, SIDE, SIDE)
        self.classes = torch.from_numpy(classes[chosen]).long()
        self.samples, self.seed, self.lengths = samples, seed, (min(shortest, longest), longest)

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: int) -> dict[str, Any]:
        draw = np.random.default_rng([self.seed, index])
        ids = draw.integers(len(self.images), size=draw.integers(self.lengths[0], self.lengths[1] + 1))
        gaps = draw.integers(1, WIDEST_GAP + 1, size=len(ids))
        columns = torch.cat([self.columns(int(image), int(gap)) for image, gap in zip(ids, gaps, strict=True)])
        input, target = padded(columns, self.lengths[1] * (SIDE + WIDEST_GAP)), padded(self.classes[ids], self.lengths[1])  # noqa: A001
        return {"input": input, "target": target, "input_lengths": len(columns), "target_lengths": len(ids)}

    def columns(self, image: int, gap: int) -> Tensor:
        return torch.cat([torch.full((gap, SIDE), -MEAN / STD), self.images[image].T])


def padded(values: Tensor, length: int) -> Tensor:
    return torch.cat([values, values.new_zeros(length - len(values), *values.shape[1:])])
