"""Whether a network has come to find one class whatever it sees."""

from __future__ import annotations

from dataclasses import dataclass

from launcher.worker.metrics.counts import FOUND, WANTED, Counts

ELSEWHERE = 0.1
"""The share of what other classes have among the targets that they have left among the predictions."""
FEWEST = 10
"""Targets of other classes, below which it may be chance."""


@dataclass(frozen=True, kw_only=True)
class OneClass:
    found: int
    """The class."""
    share: float
    """Of the predictions."""
    of_targets: float
    """The share that it has among the targets."""


def one_class(counts: Counts) -> OneClass | None:
    if counts.task is None or counts.task.kind == "multilabel" or counts.counted is None or not counts.whole:
        return None
    found, wanted, whole = counts.counted[FOUND], counts.counted[WANTED], float(counts.whole)
    most = int(found.argmax())
    others_found, others_wanted = whole - float(found[most]), whole - float(wanted[most])
    if others_wanted < FEWEST or others_found > ELSEWHERE * others_wanted:
        return None
    return OneClass(found=most, share=1 - others_found / whole, of_targets=1 - others_wanted / whole)
