"""Effective training time ratio, and where the rest went: folds over the ledger."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from launcher.lost_time import productive_share, where_it_went

START = datetime(2026, 1, 1, tzinfo=UTC)


def ledger(*happened: tuple[int, str] | tuple[int, str, int]) -> list[dict[str, Any]]:
    """(seconds, event) or (seconds, event, step)"""
    return [{"time": (START + timedelta(seconds=at)).isoformat(), "event": event, "step": step[0] if step else None}
            for at, event, *step in happened]  # fmt: skip


@pytest.mark.parametrize(
    ("happened", "share"),
    [
        ([], None),
        ([(0, "prepared")], None),
        ([(0, "supervising"), (20, "running", 1), (100, "done")], 0.8),
        ([(0, "prepared"), (50, "supervising"), (50, "running", 1), (60, "done")], 1.0),
        ([(0, "supervising"), (0, "running", 1), (40, "checkpoint", 4), (100, "failure", 9)], 0.4),
        ([(0, "supervising"), (0, "running", 1), (100, "failure", 9)], 0.0),
        (
            [(0, "supervising"), (0, "running", 1), (40, "checkpoint", 4), (50, "failure"), (50, "running", 5), (100, "trained")],
            0.9,
        ),
        ([(0, "supervising"), (0, "running"), (50, "failure"), (75, "running"), (100, "done")], 0.75),
        ([(0, "supervising"), (0, "running", 1), (30, "checkpoint", 4), (100, "supervising")], 0.3),
    ],
)
def test_kept_time_over_wall_time(happened: Any, share: float | None) -> None:
    took = where_it_went(ledger(*happened), None)
    assert (None if took is None else productive_share(took)) == share


def test_a_live_runs_newest_work_is_not_lost_yet() -> None:
    entries = ledger((0, "supervising"), (10, "running", 1), (20, "checkpoint", 5))
    took = where_it_went(entries, START.replace(second=40))
    assert took is not None
    assert productive_share(took) == 0.75


@pytest.mark.parametrize(
    ("happened", "went_to"),
    [
        (
            [(0, "prepared"), (0, "queued"), (30, "supervising"), (31, "attempt"), (40, "running", 1), (90, "checkpoint", 8),
             (100, "failure", 9), (100, "attempt"), (105, "running", 9), (110, "checkpoint", 9), (110, "done")],
            {"queue": 30, "start": 10, "lost_steps": 10, "restart": 5, "kept": 55},
        ),
        (
            [(0, "supervising"), (5, "running", 1), (20, "checkpoint", 5), (20, "queued"), (80, "supervising"),
             (90, "running", 6), (100, "done")],
            {"start": 15, "queue": 60, "kept": 25},
        ),
        (
            [(0, "supervising"), (5, "running", 1), (20, "checkpoint", 5), (20, "stopped"), (50, "supervising"),
             (60, "running", 6), (61, "done")],
            {"start": 15, "stopped": 30, "kept": 16},
        ),
    ],
)  # fmt: skip
def test_where_the_time_went(happened: Any, went_to: dict[str, int]) -> None:
    spent = where_it_went(ledger(*happened), None)
    assert spent is not None
    assert {name: seconds for name, seconds in spent.items() if seconds} == went_to


def test_a_hang_and_the_stalls_of_saving_are_told_apart() -> None:
    entries = ledger((0, "supervising"), (0, "running", 1), (50, "checkpoint", 5), (100, "failure", 9))
    entries[-1]["hung_s"] = 30.0
    entries[2]["held_s"] = 5.0
    spent = where_it_went(entries, None)
    assert spent is not None
    assert (spent["kept"], spent["checkpoints"], spent["hang"], spent["lost_steps"]) == (45, 5, 30, 20)
