"""Noisy waves of four shapes, each of a length, pitch and phase of its own, made on the spot: for recurrent networks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from launcher.worker.errors import WorkerError
from launcher.worker.randomness import key

SHAPES = ("sine", "square", "rising", "falling")
SPLITS = ("train", "val")


class Waves(Dataset[tuple[Tensor, int]]):
    """Items are ((T, 1) in float32, place in SHAPES), T as `steps` says; `collate: pad` makes batches."""

    def __init__(
        self, *, split: str = "train", samples: int = 1000, steps: Sequence[int] = (20, 60), noise: float = 0.3, seed: int = 0
    ) -> None:
        if steps[0] > steps[1]:
            raise WorkerError(f"steps: [{steps[0]}, {steps[1]}]: the shortest first, then the longest", kind="spec")
        self.split, self.samples, self.steps, self.noise, self.seed = SPLITS.index(split), samples, steps, noise, seed

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if not 0 <= index < self.samples:
            raise IndexError(index)
        drawn = torch.Generator().manual_seed(key(self.seed, self.split, index))
        steps = int(torch.randint(self.steps[0], self.steps[1] + 1, (), generator=drawn))
        period, phase = (5 + 15 * torch.rand((), generator=drawn), torch.rand((), generator=drawn))
        turns = torch.arange(steps) / period + phase
        shape = index % len(SHAPES)
        clean = wave(SHAPES[shape], turns % 1.0)
        return (clean + self.noise * torch.randn(steps, generator=drawn)).unsqueeze(1), shape


def wave(shape: str, turn: Tensor) -> Tensor:
    """`turn`: share of a period that is over; all shapes have the mean 0 and the variance 1/2."""
    match shape:
        case "sine":
            return torch.sin(2 * math.pi * turn)
        case "square":
            return torch.where(turn < 0.5, 1.0, -1.0) * math.sqrt(1 / 2)
        case "rising":
            return (2 * turn - 1) * math.sqrt(3 / 2)
    return (1 - 2 * turn) * math.sqrt(3 / 2)
