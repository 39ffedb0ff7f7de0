"""How often each class was wanted, found, and right: what most metrics of classes are functions of."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from launcher.worker.metrics.rows import Rows
from launcher.worker.metrics.seen import Seen, Task
from launcher.worker.world import World

RIGHT, FOUND, WANTED = range(3)
AT_ONCE = 2**16
"""Marks that are counted together: to count those of each batch takes as long as its loss."""


@dataclass
class Counts:
    """One for all metrics of an evaluation: further metrics cost nothing."""

    name: str = "classes"
    task: Task | None = None
    counted: Tensor | None = None
    """(3, classes or labels) in float64: right, found, wanted; on the outputs' device."""
    whole: Tensor | float = 0.0
    """Of how many: samples that count."""
    found: Rows = field(default_factory=Rows)
    wanted: Rows = field(default_factory=Rows)
    """Of what is not counted yet."""
    marks: int = 0
    """How many of these there are."""

    def start(self) -> None:
        self.task, self.counted, self.whole = None, None, 0.0
        self.found, self.wanted, self.marks = Rows(), Rows(), 0

    def add(self, seen: Seen) -> None:
        self.task = seen.classes(self.name)
        self.found.add(seen.found)
        self.wanted.add(seen.wanted)
        self.marks += seen.wanted.numel()
        if self.marks >= AT_ONCE:
            self.count()

    def count(self) -> None:
        found, wanted = self.found.all(), self.wanted.all()
        if self.task is None or found is None or wanted is None:
            return
        counted, whole = of_bits(found, wanted) if self.task.kind == "multilabel" else of_classes(found, wanted, self.task.wide)
        self.counted = counted if self.counted is None else self.counted + counted
        self.whole, self.marks = whole + self.whole, 0
        self.found.clear()
        self.wanted.clear()

    def agree(self, world: World) -> None:
        """From here on they are those of all ranks. A collective."""
        self.count()
        self.found, self.wanted = Rows(), Rows()
        own = None if self.counted is None else (self.task, self.counted.cpu(), float(self.whole))
        by_rank = [each for each in world.gather(own) if each is not None]
        if by_rank:
            self.task, self.whole = by_rank[0][0], sum(whole for _, _, whole in by_rank)
            self.counted = torch.stack([counted for _, counted, _ in by_rank]).sum(0)

    def states(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """True positives, false positives, true negatives, false negatives; after `agree`, where there was a sample."""
        assert self.counted is not None
        right, found, wanted = self.counted
        return right, found - right, self.whole - found - wanted + right, wanted - right


def of_classes(found: Tensor, wanted: Tensor, wide: int) -> tuple[Tensor, Tensor]:
    # Ignored targets fall into a class behind the others: to leave them out would wait for the device.
    counts = wanted >= 0
    nowhere = torch.full_like(wanted, wide)
    marks = [
        torch.where(found == wanted, found, nowhere),
        torch.where(counts, found, nowhere),
        torch.where(counts, wanted, nowhere),
    ]
    ones = torch.ones(3, len(wanted), dtype=torch.float64, device=wanted.device)
    held = torch.zeros(3, wide + 1, dtype=torch.float64, device=wanted.device).scatter_add_(1, torch.stack(marks), ones)
    return held[:, :wide], counts.sum(dtype=torch.float64)


def of_bits(found: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    held = torch.stack([found & wanted, found, wanted]).sum(1, dtype=torch.float64)
    return held, torch.full((), len(wanted), dtype=torch.float64, device=wanted.device)
