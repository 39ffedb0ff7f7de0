"""A run's diagnosis, in words: pure functions of what stands in its metrics.jsonl, timings.jsonl and events.jsonl."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from launcher.diagnosis.classes import collapse
from launcher.diagnosis.fit import overfitting, underfitting
from launcher.diagnosis.gradients import dead_units, exploding, vanishing
from launcher.diagnosis.precision import overflow_storm
from launcher.diagnosis.rate import diverging, plateau, too_low
from launcher.diagnosis.scaling import Scaling, scaling
from launcher.diagnosis.speed import checkpoint_bound, data_bound, straggler
from launcher.diagnosis.verdict import Evidence, Records, Row, Verdict
from launcher.events import ledger
from launcher.rundir import RunDir, json_lines

__all__ = ["THEMES", "Evidence", "Records", "Scaling", "Verdict", "diagnose", "records_of", "scaling", "verdicts_of"]

FITS = frozenset(("underfitting", "rate too low", "plateau"))
"""What a run says whose real trouble lies elsewhere."""

THEMES: tuple[tuple[Callable[[Records], Iterator[Verdict]], frozenset[str]], ...] = (
    (exploding, FITS | {"diverging", "collapse to one class", "dead units"}),
    (vanishing, FITS | {"collapse to one class"}),
    (diverging, FITS | {"collapse to one class", "dead units"}),
    (dead_units, FITS | {"collapse to one class"}),
    (collapse, FITS),
    (overfitting, FITS),
    (too_low, frozenset({"underfitting"})),
    (underfitting, frozenset({"plateau"})),
    (plateau, frozenset()),
    (data_bound, frozenset()),
    (checkpoint_bound, frozenset()),
    (straggler, frozenset()),
    (overflow_storm, frozenset()),
)
"""Each with the verdicts that it explains, which are not given beside it."""


def diagnose(rows: Iterable[Row] = (), timings: Iterable[Row] = (), entries: Iterable[Row] = ()) -> list[Verdict]:
    """What is wrong with a run, the cause before its symptoms; empty for a healthy one."""
    records = Records.of(rows, timings, entries)
    found: list[Verdict] = []
    explained: set[str] = set()
    for theme, explains in THEMES:
        told = [verdict for verdict in theme(records) if verdict.name not in explained]
        found += told
        explained |= explains if told else set()
    return found


def records_of(run: RunDir) -> Records:
    """What the run has written so far."""
    files = [[row for row in json_lines(path) if well_formed(row)] for path in (run.metrics, run.timings)]
    return Records.of(files[0], files[1], ledger(run))


def well_formed(row: object) -> bool:
    return isinstance(row, dict) and isinstance(row.get("step"), int)


def verdicts_of(run: RunDir) -> list[Verdict]:
    records = records_of(run)
    return diagnose(records.rows, records.timings, records.entries)
