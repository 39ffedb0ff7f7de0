"""What is kept of every batch, one below the other in few blocks.

A small tensor kept of each batch would lie in the middle of what the next batch's outputs could take up again, so that they
wander through the memory: on the CPU a twentieth of an evaluation's time for two numbers of each sample, a fifth for a dozen.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

VALUES = 2**16
"""In a block, where a batch has no more."""


@dataclass
class Rows:
    blocks: list[Tensor] = field(default_factory=list)
    held: int = 0
    """Rows of the last block that are taken."""

    def add(self, rows: Tensor) -> None:
        """(rows, ...), all of one dtype, device and width."""
        if not self.blocks or self.held + len(rows) > len(self.blocks[-1]):
            self.blocks = self.parts()
            fit = VALUES // max(1, rows.shape[1:].numel())
            self.blocks.append(rows.new_empty(max(len(rows), fit), *rows.shape[1:]))
            self.held = 0
        self.blocks[-1][self.held : self.held + len(rows)] = rows
        self.held += len(rows)

    def parts(self) -> list[Tensor]:
        """All of them. The last is copied: sent to other ranks, a part of a block would take all of it along."""
        return [*self.blocks[:-1], self.blocks[-1][: self.held].clone()] if self.blocks else []

    def all(self) -> Tensor | None:
        """None where nothing was added."""
        return torch.cat(self.parts()) if self.blocks else None

    def clear(self) -> None:
        """The last block is written anew."""
        self.blocks, self.held = self.blocks[-1:], 0
