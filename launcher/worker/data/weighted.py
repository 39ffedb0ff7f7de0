"""Draws by weight: each a function of (seed, epoch, position), so that any rank begins anywhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from launcher.worker.data.order import Blockwise, Indices, Words, mixed
from launcher.worker.errors import WorkerError
from launcher.worker.randomness import SAMPLING, hash64

TOGETHER = 256
"""Weights whose sum is kept: 1e8 weights take 3 MB of sums beside themselves, and a draw adds up 256 of them."""
CHUNK = 1 << 14
"""Sums computed at once."""
GOLDEN = np.uint64(0x9E3779B97F4A7C15)

Weights = NDArray[Any]
"""Of any floating dtype; may lie in a file."""


def uniform(positions: Indices, key: int) -> NDArray[np.float64]:
    """From 0 to 1, 1 excluded: splitmix64's stream, entered at any position."""
    words: Words = positions.astype(np.uint64) * GOLDEN + np.uint64(key)
    return (mixed(words) >> np.uint64(11)).astype(np.float64) * 2.0**-53


@dataclass
class Weighted(Blockwise):
    """`n` draws an epoch with replacement."""

    weights: Weights
    n: int
    seed: int
    until: NDArray[np.float64] = field(init=False)
    """Sum of all weights up to and with each block of TOGETHER."""

    @property
    def block_size(self) -> int:
        return 1 << 12

    def __post_init__(self) -> None:
        self.sums = checked_sums(self.weights)
        self.until = self.sums.cumsum()
        self.last = int(np.flatnonzero(self.sums)[-1])

    def compute(self, epoch: int, positions: Indices) -> Indices:
        point = uniform(positions, hash64(SAMPLING, self.seed, epoch)) * self.until[-1]
        block = np.minimum(np.searchsorted(self.until, point, side="right"), self.last)
        within = point - (self.until[block] - self.sums[block])
        samples = block[:, None] * TOGETHER + np.arange(TOGETHER)
        inside = samples < len(self.weights)
        weights = np.where(inside, self.weights[np.minimum(samples, len(self.weights) - 1)], 0).astype(np.float64)
        until = weights.cumsum(1)
        # Rounding may lead a little beyond the last weight that is not 0.
        drawn: Indices = samples[np.arange(len(block)), np.minimum((until <= within[:, None]).sum(1), until.argmax(1))]
        return drawn


def checked_sums(weights: Weights) -> NDArray[np.float64]:
    """Of each block of TOGETHER, in float64. Raises WorkerError for a weight that is none."""
    step = TOGETHER * CHUNK
    parts = []
    for start in range(0, len(weights), step):
        chunk = np.asarray(weights[start : start + step])
        if not (chunk.min() >= 0 and np.isfinite(chunk.max())):
            odd = int(np.flatnonzero(~((chunk >= 0) & np.isfinite(chunk)))[0])
            raise WorkerError(
                f"train.data.sampling: the weight of sample {start + odd} is {chunk[odd]}; weights are numbers >= 0", kind="spec"
            )
        parts.append(np.add.reduceat(chunk, np.arange(0, len(chunk), TOGETHER), dtype=np.float64))
    sums = np.concatenate(parts)
    if not sums.any():
        raise WorkerError("train.data.sampling: every weight is 0: there is nothing to draw", kind="spec")
    return sums


@dataclass
class WeightedOnce(Blockwise):
    """`n` draws an epoch without replacement: those that come first where each sample waits an exponential time with its weight
    as rate (Efraimidis and Spirakis 2006), which is the distribution of drawing one after the other."""

    weights: Weights
    n: int
    seed: int

    def __post_init__(self) -> None:
        checked_sums(self.weights)
        possible = int(np.count_nonzero(self.weights))
        if self.n > possible:
            raise WorkerError(
                f"train.data.sampling: {self.n} draws without replacement, and {possible} samples have a weight above 0. Write "
                f"num_samples: {possible} or less, or replacement: true",
                kind="spec",
            )

    @property
    def block_size(self) -> int:
        return self.n

    def compute(self, epoch: int, positions: Indices) -> Indices:
        waiting = -np.log1p(-uniform(np.arange(len(self.weights)), hash64(SAMPLING, self.seed, epoch)))
        with np.errstate(divide="ignore", invalid="ignore"):
            times = np.where(np.asarray(self.weights) > 0, waiting / self.weights, np.inf)
        return np.argsort(times, kind="stable")[positions]
