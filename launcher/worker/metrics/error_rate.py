"""How far recognised sequences of labels are from the true ones."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from torch import Tensor

from launcher.worker.losses.batch import INPUT_LENGTHS, TARGET_LENGTHS, lengths_of
from launcher.worker.metrics.seen import Seen
from launcher.worker.world import World


@dataclass
class ErrorRate:
    """Insertions, deletions and substitutions by the number of true labels, of the loss's ctc: its likeliest path, less repeated
    labels and blanks."""

    name: str
    edits: int = 0
    labels: int = 0

    def start(self) -> None:
        self.edits, self.labels = 0, 0

    def add(self, seen: Seen) -> None:
        output, target = seen.output, seen.target
        if not isinstance(output, Tensor) or output.ndim != 3 or not isinstance(target, Tensor) or target.ndim != 2:
            raise seen.unfit(self.name, "compares sequences of labels, of logits (N, T, classes)")
        times, lengths = lengths_of(seen.batch, INPUT_LENGTHS, output), lengths_of(seen.batch, TARGET_LENGTHS, target)
        paths, truths = list(whole(output.argmax(2), times)), list(whole(target, lengths))
        self.edits += sum(edits(spoken(path, seen.reading.blank), truth) for path, truth in zip(paths, truths, strict=True))
        self.labels += sum(map(len, truths))

    def value(self, world: World) -> float:
        edits, labels = world.sum([float(self.edits), float(self.labels)])
        return edits / labels if labels else math.nan


def whole(padded: Tensor, lengths: Tensor) -> Iterator[list[int]]:
    for row, length in zip(padded.tolist(), lengths.tolist(), strict=True):
        yield row[:length]


def spoken(path: Sequence[int], blank: int) -> list[int]:
    return [label for label, _ in groupby(path) if label != blank]


def edits(found: Sequence[int], true: Sequence[int]) -> int:
    """The fewest insertions, deletions and substitutions (Levenshtein, 1966)."""
    row = list(range(len(true) + 1))
    for number, label in enumerate(found, 1):
        corner, row[0] = row[0], number
        for place, wanted in enumerate(true, 1):
            corner, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, corner + (label != wanted))
    return row[-1]
