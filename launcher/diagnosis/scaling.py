"""How well the ranks of a run work side by side."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

from launcher.diagnosis.speed import Span, numbers, spans
from launcher.diagnosis.verdict import Records


@dataclass(frozen=True, kw_only=True)
class Scaling:
    ranks: int
    efficiency: float
    """Share of the ranks' time in which each computes gradients of its own samples: a rank alone does that, and the update."""
    batches: float
    """Share in which they wait for batches."""

    @property
    def words(self) -> str:
        rest = max(0.0, 1 - self.efficiency - self.batches)
        return (
            f"efficiency {self.efficiency:.0%} (of the time of {self.ranks} ranks went to gradients of their own samples; "
            f"{self.batches:.0%} to waiting for batches, {rest:.0%} to each other and the update)"
        )


def scaling(records: Records) -> Scaling | None:
    """Over the steps of the newest world. None for one rank, or too short a run."""
    found = spans(records)
    ranks = len(numbers(found[-1].row.get("compute_s"))) if found else 0
    alike = [span for span in found if len(numbers(span.row.get("compute_s"))) == ranks]
    whole_s = sum(span.training_s for span in alike)
    if ranks < 2 or whole_s <= 0:
        return None
    return Scaling(ranks=ranks, efficiency=sum(map(computing_s, alike)) / whole_s, batches=sum(map(reading_s, alike)) / whole_s)


def computing_s(span: Span) -> float:
    return span.steps * fmean(numbers(span.row["compute_s"]))


def reading_s(span: Span) -> float:
    return span.training_s * fmean(numbers(span.row.get("data_share")) or [0.0])
