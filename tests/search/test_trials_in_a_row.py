"""Successive trials on the same warm agents, each of which counts its attempts from 1."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from launcher.plan import Cluster
from launcher.search.slots import Slot
from launcher.supervisor.pool import Pool
from tests.agent.pipes import Supervisor, make_run


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Supervisor]:
    supervisor = Supervisor(make_run(tmp_path / "first", ""))
    yield supervisor
    supervisor.close()


def test_what_the_trial_before_counted_is_not_the_next_ones(agent: Supervisor, tmp_path: Path) -> None:
    agent.start(1)
    agent.hear("swept", attempt=1)
    agent.start(2)
    agent.hear("swept", attempt=2)
    agent.run = make_run(tmp_path / "second", "")
    agent.warm()
    agent.send("kill", attempt=1)  # of the second, before it started
    agent.hear("swept", attempt=1)


def test_that_nothing_is_left_is_told_once(agent: Supervisor, tmp_path: Path) -> None:
    agent.start(1)
    agent.hear("swept", attempt=1)
    agent.send("kill", attempt=1)  # which crossed the word of its end
    agent.run = make_run(tmp_path / "second", "")
    agent.warm()
    agent.hear("facts")
    assert [each for each in agent.news if each["kind"] == "swept"] == []


def test_a_share_is_free_once_nothing_is_left_of_a_lost_agent() -> None:
    """Otherwise the loss would be told to the next trial, of its own new agent."""
    pool: Any = SimpleNamespace(agents={}, leaving={3: "ending"})
    cluster = cast(Cluster, SimpleNamespace(machines=("a", "b")))
    assert Slot(cast(Pool, pool), 0, cluster).free
    assert not Slot(cast(Pool, pool), 2, cluster).free
