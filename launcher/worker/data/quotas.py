"""Draws by class: how often each class comes in an epoch is fixed, and which of its samples do is drawn anew each epoch.

A class's samples come in rounds, each a permutation of them all: no sample comes twice before all others of its class have come
once. Any position is computed where it is asked for, so that any rank begins anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from launcher.worker.data.classes import Classes, counts_of
from launcher.worker.data.order import BLOCK, RANDPERM_MAX, ROUNDS, Blockwise, Indices, Order, Words, mixed
from launcher.worker.randomness import SAMPLING, hash64


@dataclass
class Quotas(Blockwise):
    classes: Classes
    """Of every sample; those below 0, which losses ignore, never come."""
    quotas: Classes
    """Draws of each class in an epoch."""
    seed: int
    shuffled: Order = field(init=False, repr=False)
    """The order in which the draws come."""

    def __post_init__(self) -> None:
        self.counts = counts_of(self.classes)
        self.n = int(self.quotas.sum())
        ignored = int((self.classes < 0).sum())
        self.members = np.argsort(self.classes, kind="stable")[ignored:]
        self.first_member = self.counts.cumsum() - self.counts
        self.until = self.quotas.cumsum()
        self.shuffled = Order(self.n, self.seed)

    @property
    def block_size(self) -> int:
        return self.n if self.n <= RANDPERM_MAX else BLOCK

    def compute(self, epoch: int, positions: Indices) -> Indices:
        draws = self.shuffled.at(epoch, positions)
        kind = np.searchsorted(self.until, draws, side="right")
        lap, place = np.divmod(draws - (self.until - self.quotas)[kind], self.counts[kind])
        keys = hashed(kind.astype(np.uint64) << np.uint64(32) | lap.astype(np.uint64), hash64(SAMPLING, self.seed, epoch))
        samples: Indices = self.members[self.first_member[kind] + permuted(place, self.counts[kind], keys)]
        return samples


def hashed(words: Words, key: int) -> Words:
    return mixed(mixed(words + np.uint64(key)) + np.uint64(0x9E3779B97F4A7C15))


def permuted(places: Indices, sizes: Indices, keys: Words) -> Indices:
    """Each place in [0, size) under the permutation of its own key: order.py's network, with a width of its own for each."""
    bits = np.maximum(2, np.ceil(np.log2(np.maximum(sizes, 2))).astype(np.uint64))
    found, outside = places.astype(np.uint64), np.arange(len(places))
    while outside.size:
        found[outside] = once(found[outside], bits[outside], keys[outside])
        outside = outside[found[outside] >= sizes[outside].astype(np.uint64)]
    return found.astype(np.int64)


def once(values: Words, bits: Words, keys: Words) -> Words:
    low_bits = bits // np.uint64(2)
    low_mask = (np.uint64(1) << low_bits) - np.uint64(1)
    high_mask = (np.uint64(1) << (bits - low_bits)) - np.uint64(1)
    low, high = values & low_mask, values >> low_bits
    for number in range(ROUNDS):
        round_keys = hashed(keys, hash64(number))
        if number % 2:
            low ^= mixed(high + round_keys) & low_mask
        else:
            high ^= mixed(low + round_keys) & high_mask
    joined: Words = (high << low_bits) | low
    return joined
