"""Which classes are taken for which: a matrix, so that it stands in a file of its own and not in a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from launcher.worker.metrics.seen import Seen
from launcher.worker.world import World


@dataclass
class ConfusionMatrix:
    """Counts; a row for each class that is wanted, a column for each that is found.

    Of labels that are each a yes or no, a row for each: rightly no, wrongly yes, wrongly no, rightly yes.
    """

    name: str
    counted: Tensor | None = None

    def start(self) -> None:
        self.counted = None

    def add(self, seen: Seen) -> None:
        task = seen.classes(self.name)
        found, wanted = seen.found.long(), seen.wanted.long()
        if task.kind == "multilabel":
            places, rows = torch.arange(task.wide, device=wanted.device) * 4 + 2 * wanted + found, (task.wide, 4)
        else:
            # What does not count falls behind the last: to leave it out would wait for the device.
            places, rows = torch.where(wanted < 0, task.wide**2, wanted * task.wide + found), (task.wide, task.wide)
        cells = torch.zeros(rows[0] * rows[1] + 1, dtype=torch.float64, device=wanted.device)
        cells.scatter_add_(0, places.flatten(), torch.ones_like(places, dtype=torch.float64).flatten())
        counted = cells[:-1].view(rows)
        self.counted = counted if self.counted is None else self.counted + counted

    def table(self, world: World) -> list[list[int]]:
        """Of all ranks' samples; empty where there are none. A collective."""
        by_rank: list[Any] = world.gather(None if self.counted is None else self.counted.cpu())
        matrices = [each for each in by_rank if each is not None]
        return torch.stack(matrices).sum(0).long().tolist() if matrices else []
