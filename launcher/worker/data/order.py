"""The order of an epoch's samples: a function of (seed, epoch) alone.

Up to 2^20 samples it is torch.randperm. Above, position -> sample is a keyed bijection computed where it is asked for: a Feistel
network over two halves of the index's bits, walked again where it leads outside (less than once more on average). It costs no
memory and starts at any position. Four rounds are visibly biased on small sets; eight are not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from launcher.worker.randomness import ORDER, hash64, key

# These fix the order of every run that was ever started: never change them.
RANDPERM_MAX = 1 << 20
ROUNDS = 8
BLOCK = 1 << 14
"""Positions computed at once: numpy costs ten times more per index in small portions."""

Indices = NDArray[np.int64]
Words = NDArray[np.uint64]


def mixed(words: Words) -> Words:
    """splitmix64's step in place, element by element, without the addition that the caller's key stands for."""
    shifted = words >> np.uint64(30)
    words ^= shifted
    words *= np.uint64(0xBF58476D1CE4E5B9)
    np.right_shift(words, np.uint64(27), out=shifted)
    words ^= shifted
    words *= np.uint64(0x94D049BB133111EB)
    np.right_shift(words, np.uint64(31), out=shifted)
    words ^= shifted
    return words


@dataclass(frozen=True)
class Feistel:
    """A bijection of [0, n) onto itself."""

    n: int
    keys: tuple[int, ...]

    def __call__(self, positions: Indices) -> Indices:
        values = self.once(positions.astype(np.uint64))
        while (outside := np.flatnonzero(values >= np.uint64(self.n))).size:
            values[outside] = self.once(values[outside])
        return values.astype(np.int64)

    def once(self, values: Words) -> Words:
        """A bijection of the next power of two: halves of a and b bits, each in turn changed by a hash of the other."""
        bits = max(2, (self.n - 1).bit_length())
        low_bits = bits // 2
        low_mask, high_mask = np.uint64((1 << low_bits) - 1), np.uint64((1 << (bits - low_bits)) - 1)
        low, high = values & low_mask, values >> np.uint64(low_bits)
        for number, round_key in enumerate(self.keys):
            if number % 2:
                low ^= mixed(high + np.uint64(round_key)) & low_mask
            else:
                high ^= mixed(low + np.uint64(round_key)) & high_mask
        return (high << np.uint64(low_bits)) | low


class Blockwise:
    """The samples at an epoch's positions, `n` in all; the newest block of them is kept."""

    n: int
    kept: tuple[int, int, Indices] = (-1, -1, np.empty(0, np.int64))
    """(epoch, first position, samples) of the newest block."""

    @property
    def block_size(self) -> int:
        """Positions computed at once; of a block that holds the whole epoch, any position is at hand."""
        raise NotImplementedError

    def compute(self, epoch: int, positions: Indices) -> Indices:
        raise NotImplementedError

    def samples(self, epoch: int, start: int, stop: int) -> Indices:
        """The samples at positions start ... stop - 1 of an epoch."""
        size = self.block_size
        parts = [
            self.block(epoch, first, size)[max(start - first, 0) : stop - first]
            for first in range(start - start % size, stop, size)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, np.int64), *parts])

    def at(self, epoch: int, positions: Indices) -> Indices:
        """The samples at any positions."""
        return self.block(epoch, 0, self.n)[positions] if self.block_size >= self.n else self.compute(epoch, positions)

    def block(self, epoch: int, first: int, size: int) -> Indices:
        if self.kept[:2] != (epoch, first):
            self.kept = (epoch, first, self.compute(epoch, np.arange(first, min(first + size, self.n))))
        return self.kept[2]


@dataclass
class Order(Blockwise):
    """The order of `n` samples in every epoch, each once."""

    n: int
    seed: int
    shuffle: bool = True

    @property
    def block_size(self) -> int:
        return self.n if self.n <= RANDPERM_MAX else BLOCK

    def samples(self, epoch: int, start: int, stop: int) -> Indices:
        return super().samples(epoch, start, stop) if self.shuffle else np.arange(start, stop)

    def compute(self, epoch: int, positions: Indices) -> Indices:
        if not self.shuffle:
            return positions
        if self.n <= RANDPERM_MAX:
            generator = torch.Generator().manual_seed(key(ORDER, self.seed, epoch))
            return torch.randperm(self.n, generator=generator).numpy()[positions]
        keys = tuple(hash64(ORDER, self.seed, epoch, number) for number in range(ROUNDS))
        return Feistel(self.n, keys)(positions)
