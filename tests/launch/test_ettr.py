"""Effective training time ratio: a fold over the ledger."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from launcher.events import kept_share

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
    assert kept_share(ledger(*happened), now=None) == share


def test_a_live_runs_newest_work_is_not_lost_yet() -> None:
    entries = ledger((0, "supervising"), (10, "running", 1), (20, "checkpoint", 5))
    assert kept_share(entries, now=START.replace(second=40)) == 0.75
