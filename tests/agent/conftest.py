"""An agent that has not been given an order yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agent.pipes import Supervisor, make_run

Job = Callable[..., Supervisor]


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    """Makes a run of a script's text (or of another entry) and an agent that has not been given an order yet."""
    supervisors: list[Supervisor] = []

    def make(script: str = "", *, caller: dict[str, str] | None = None, number: int = 0, **plan: Any) -> Supervisor:
        run = make_run(tmp_path / f"job-{len(supervisors)}", script, **plan)
        supervisors.append(Supervisor(run, caller, number=number))
        return supervisors[-1]

    yield make
    for supervisor in supervisors:
        supervisor.close()
