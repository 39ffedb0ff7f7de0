"""Rank 0 may take its time: nobody waits for it in one collective longer than a collective may."""

from __future__ import annotations

import time
from typing import Any

import pytest

from launcher.rundir import RunDir
from launcher.spec.retry import Retry
from launcher.worker import world as worlds
from launcher.worker.job import read_job
from launcher.worker.world import joined, patience_s
from tests.worker.worlds import a_job, on_ranks, run_of

TIMEOUT_S, WORK_S = 20.0, 25.0


def slowly(run: RunDir) -> tuple[str, float]:
    worlds.TOGETHER_S = 0.5

    def work() -> str:
        time.sleep(WORK_S)
        return "chosen"

    with joined(read_job(run)) as world:
        began = time.monotonic()
        return world.by_first(work), time.monotonic() - began


def test_the_others_wait_for_rank_0_longer_than_a_collective_may(tmp_path: Any) -> None:
    job = a_job(timeout=f"{TIMEOUT_S:g}s")
    for chosen, waited_s in on_ranks(3, slowly, run_of(tmp_path / "run", job)):
        assert chosen == "chosen"
        assert waited_s > TIMEOUT_S


def refused(run: RunDir) -> str:
    def work() -> str:
        raise ValueError("damaged")

    with joined(read_job(run)) as world:
        try:
            return world.by_first(work)
        except ValueError as error:
            return str(error)


def test_what_rank_0_meets_is_raised_there(tmp_path: Any) -> None:
    assert on_ranks(1, refused, run_of(tmp_path / "run", a_job())) == ["damaged"]


@pytest.mark.parametrize(("wanted_s", "watch", "given_s"), [
    (600, "10m", 720), (30, "10m", 30), (3600, "10m", 3600), (630, "10m", 720), (600, "0s", 600),
])  # fmt: skip
def test_the_hang_watch_comes_before_a_collective_that_would_wait_as_long(wanted_s: float, watch: str, given_s: float) -> None:
    assert patience_s(wanted_s, Retry.model_validate({"hang_timeout": watch})) == given_s
