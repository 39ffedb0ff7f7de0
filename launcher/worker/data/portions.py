"""How a global batch is cut: into contiguous, nearly equal shares of ranks, and each share into micro-batches.

Every rank takes the same number of micro-steps, since each is a collective where batch norm is synchronised; on a short last
batch some ranks then have a micro-batch of no samples.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from launcher.worker.data.nested import mapped
from launcher.worker.data.order import Blockwise, Indices


@dataclass(frozen=True, kw_only=True)
class Cut:
    batch_size: int
    """Global."""
    micro_batch_size: int
    """Largest, per rank."""
    rank: int
    world_size: int

    def pieces(self, samples: int) -> list[tuple[int, int]]:
        """This rank's micro-batches as spans of a global batch of so many samples."""
        largest_share = -(-samples // self.world_size)
        count = max(1, -(-largest_share // self.micro_batch_size))
        begin, end = spread(samples, self.world_size, self.rank)
        spans = [spread(end - begin, count, number) for number in range(count)]
        return [(begin + first, begin + stop) for first, stop in spans]


def spread(total: int, parts: int, number: int) -> tuple[int, int]:
    """The span of one of nearly equal, contiguous parts."""
    return total * number // parts, total * (number + 1) // parts


@dataclass(frozen=True, kw_only=True)
class Portion:
    """One rank's part of one optimizer step."""

    epoch: int
    batch: int
    """Index in the epoch."""
    samples: int
    """Of all ranks."""
    last: bool
    """Of its epoch."""
    ids: list[Indices] = field(default_factory=list)
    """Of this rank's samples, for each micro-step; positions in the stream for iterable data."""
    starts: list[int] = field(default_factory=list)
    """Position in the epoch of the first of each micro-step's samples."""
    micro: list[Any] = field(default_factory=list)
    """Batches for each micro-step."""

    def pin_memory(self) -> Portion:
        """In page-locked memory, from which copies to a GPU do not wait. The name is what torch's DataLoader looks for."""
        return replace(self, micro=[mapped(batch, lambda tensor: tensor.pin_memory()) for batch in self.micro])


@dataclass(frozen=True, kw_only=True)
class Epochs:
    """The portions of a data set of known length: which samples, not what they hold."""

    order: Blockwise
    cut: Cut
    drop_last: bool = False
    limit_batches: int | None = None

    @property
    def steps(self) -> int:
        """Optimizer steps in an epoch."""
        n, size = self.order.n, self.cut.batch_size
        steps = n // size if self.drop_last else -(-n // size)
        return min(steps, self.limit_batches) if self.limit_batches else steps

    def portion(self, epoch: int, batch: int) -> Portion:
        start = batch * self.cut.batch_size
        samples = min(self.cut.batch_size, self.order.n - start)
        pieces = self.cut.pieces(samples)
        ids = [
            self.order.samples(epoch, start + first, start + stop) if stop > first else np.empty(0, np.int64)
            for first, stop in pieces
        ]
        starts = [start + first for first, _ in pieces]
        return Portion(epoch=epoch, batch=batch, samples=samples, last=batch + 1 == self.steps, ids=ids, starts=starts)
