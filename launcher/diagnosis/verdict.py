"""What is said of a run: never without evidence, and never without what to change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A value that stands in the run's files."""

    metric: str
    value: float | str
    step: int
    epoch: float | None = None

    def __str__(self) -> str:
        value = self.value if isinstance(self.value, str) else f"{self.value:.4g}"
        return f"{self.metric} {value} at {f'epoch {self.epoch:g}' if self.epoch is not None else f'step {self.step}'}"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    name: str
    """Such as `overfitting`."""
    words: str
    """What happened, in one sentence with its figures."""
    evidence: tuple[Evidence, ...]
    field: str
    """Of the spec: what to change first."""
    to: str
    """Its new value, as `--set FIELD=VALUE` takes it."""
    also: str = ""
    """What else may help."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"evidence": [asdict(each) for each in self.evidence]}


@dataclass(frozen=True, kw_only=True)
class Records:
    """A run's files, as far as a verdict looks at them."""

    rows: tuple[Row, ...] = ()
    """Of metrics.jsonl."""
    timings: tuple[Row, ...] = ()
    entries: tuple[Row, ...] = ()
    """Of events.jsonl."""

    @classmethod
    def of(cls, rows: Iterable[Row] = (), timings: Iterable[Row] = (), entries: Iterable[Row] = ()) -> Records:
        return cls(rows=tuple(rows), timings=tuple(timings), entries=tuple(entries))
