"""CONTRACTS.md: failure.json, the root cause of the newest failed attempt."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest

from tests.contracts.conftest import Desk, Job, rows, script_job, small

KEYS = {
    "rank",
    "local_rank",
    "node",
    "host",
    "attempt",
    "step",
    "exception",
    "message",
    "where",
    "signal",
    "exit_code",
    "log_tail",
}
TWO = {"procs_per_node": 2, "threads": 1, "device": "cpu"}


def failure(desk: Desk, job: Job, script: str | None = None) -> dict[str, Any]:
    if script is not None:
        desk.write("own.py", script)
    outcome = desk.launch(desk.job(job))
    assert outcome.code == 1, outcome.said
    told: dict[str, Any] = json.loads((desk.run() / "failure.json").read_text())
    assert told.keys() >= KEYS
    assert told["host"] == socket.gethostname()
    return told


ONE_OF_TWO = """import os, time
print("last words", flush=True)
if os.environ["RANK"] == "1":
    raise KeyError("lost")
time.sleep(60)
"""
MORTAL = """
import os, signal, sys, mine


class Net(mine.Net):
    calls = 0

    def __init__(self, deed):
        super().__init__(8)
        self.deed = deed

    def forward(self, features):
        self.calls += 1
        if self.calls == 4:
            os.kill(os.getpid(), signal.SIGKILL) if self.deed == "kill" else sys.exit(3)
        return super().forward(features)
"""


def test_an_exception_in_a_script(desk: Desk) -> None:
    told = failure(desk, script_job(resources=TWO), ONE_OF_TWO)
    assert (told["rank"], told["local_rank"], told["node"], told["attempt"]) == (1, 1, 0, 1)
    assert (told["exception"], told["exit_code"], told["signal"], told["step"]) == ("KeyError", 1, None, None)
    assert "lost" in told["message"]
    assert told["where"].endswith("own.py:4")
    assert "last words" in str(told["log_tail"])


def test_an_exception_on_the_second_node(desk: Desk) -> None:
    told = failure(desk, script_job(resources={**TWO, "procs_per_node": 1, "nodes": 2}), ONE_OF_TWO)
    assert (told["rank"], told["local_rank"], told["node"], told["exception"]) == (1, 0, 1, "KeyError")


def test_an_exit_with_a_number(desk: Desk) -> None:
    told = failure(desk, script_job(), "import sys\nprint('last words', flush=True)\nsys.exit(3)\n")
    assert (told["rank"], told["exit_code"], told["signal"]) == (0, 3, None)
    assert told["exception"] in (None, "SystemExit")
    assert "last words" in str(told["log_tail"])


@pytest.mark.parametrize("name", ["SIGSEGV"])
def test_a_signal(desk: Desk, name: str) -> None:
    told = failure(desk, script_job(), f"import os, signal\nos.kill(os.getpid(), signal.{name})\n")
    assert (told["signal"], told["exit_code"], told["exception"], told["where"]) == (name, None, None, None)


def test_an_error_in_the_users_code_of_a_training(desk: Desk) -> None:
    line = next(
        number for number, text in enumerate((desk.folder / "mine.py").read_text().splitlines(), 1) if "# FAILS HERE" in text
    )
    job = small(train__model={"target": "mine:Failing", "width": 8, "at": 7, "on": "1"}, resources=TWO)
    told = failure(desk, job)
    assert (told["rank"], told["local_rank"], told["node"], told["attempt"]) == (1, 1, 0, 1)
    assert (told["exception"], told["message"], told["signal"]) == ("ValueError", "the user's own mistake", None)
    assert told["where"].endswith(f"mine.py:{line}")
    last = rows(desk.run())[-1]["step"]
    assert told["step"] in (last, last + 1)


@pytest.mark.parametrize(("deed", "name", "code"), [("kill", "SIGKILL", None), ("exit", None, 3)])
def test_a_rank_of_a_training_that_is_killed_or_exits(desk: Desk, deed: str, name: str | None, code: int | None) -> None:
    desk.write("mortal.py", MORTAL)
    told = failure(desk, small(train__model={"target": "mortal:Net", "deed": deed}))
    assert (told["rank"], told["signal"], told["exit_code"]) == (0, name, code)
    assert told["exception"] in (None, "SystemExit")


def test_the_newest_failure_is_on_top_and_earlier_ones_with_their_logs(desk: Desk) -> None:
    script = "import os, launcher\nlauncher.pulse()\nraise ValueError('in attempt ' + os.environ['LAUNCHER_ATTEMPT'])\n"
    told = failure(desk, script_job(retry={"max_restarts": 1}), script)
    assert (told["attempt"], told["message"]) == (2, "in attempt 2")
    earlier = json.loads((desk.run() / "logs" / "attempt-1" / "failure.json").read_text())
    assert (earlier["attempt"], earlier["message"]) == (1, "in attempt 1")


def test_under_the_other_engine_it_is_torchruns_last_restart(desk: Desk) -> None:
    script = "import os\nraise ValueError('in attempt ' + os.environ['LAUNCHER_ATTEMPT'])\n"
    resources = {**TWO, "procs_per_node": 1, "agent": "torchrun"}
    told = failure(desk, script_job(resources=resources, retry={"max_restarts": 1}), script)
    assert (told["attempt"], told["exit_code"], told["exception"]) == (2, 1, "ValueError")
    assert desk.status()["attempts"] == 2


def test_the_root_cause_is_shown_once_and_first(desk: Desk) -> None:
    desk.write("own.py", "import os\nraise ValueError('of rank ' + os.environ['RANK'])\n")
    outcome = desk.launch(desk.job(script_job(resources=TWO)))
    said = outcome.said
    assert "own.py:2" in said
    assert "ValueError" in said
    assert said.index("own.py:2") > 0
