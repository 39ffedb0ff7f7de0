"""CONTRACTS.md, "Python"."""

from __future__ import annotations

import json
import sys

import pytest

from tests.contracts.conftest import Desk, script_job, small, until

LAZY = """
import sys, launcher
heavy = {"torch", "numpy", "pydantic", "yaml", "rich", "click", "wandb"}
print([name for name in sys.modules if name.split(".")[0] in heavy or name.startswith("launcher.")])
"""
RUN = """
import json, launcher
run = launcher.run("job.yaml", nodes=1, backend="local", overrides={"train.max_steps": 3})
print(json.dumps([run.id, str(run.path), run.state, run.metrics()]))
"""


def python(desk: Desk, code: str) -> str:
    outcome = desk.call(sys.executable, "-c", code)
    assert outcome.code == 0, outcome.said
    return outcome.out


def test_import_launcher_is_lazy(desk: Desk) -> None:
    assert python(desk, LAZY) == "[]\n"


def test_run_waits_and_gives_a_run(desk: Desk) -> None:
    desk.job(small())
    told = json.loads(python(desk, RUN))
    assert told[:3] == [desk.run().name, str(desk.run()), "done"]
    assert [row["step"] for row in told[3]] == [1, 2, 3]


def test_submit_does_not_wait_and_a_run_can_be_stopped(desk: Desk) -> None:
    desk.write("own.py", "import launcher, time\nwhile not launcher.should_stop():\n    time.sleep(0.05)\n")
    desk.job(script_job())
    code = """
import launcher
run = launcher.submit("job.yaml")
assert run.state in ("queued", "starting", "running"), run.state
again = launcher.open("last")
assert again.id == run.id
again.stop()
try:
    run.wait()
except launcher.LaunchError as error:
    print(run.state, error.exit_code)
"""
    assert python(desk, code) == "stopped 75\n"


def test_a_submitted_run_outlives_its_caller(desk: Desk) -> None:
    desk.write("own.py", "import os, time\nwhile not os.path.exists('seen'):\n    time.sleep(0.05)\n")
    desk.job(script_job())
    started = python(desk, "import launcher\nprint(launcher.submit('job.yaml').id)").strip()
    assert desk.status(started)["state"] in ("starting", "running")
    desk.write("seen", "")
    until(lambda: desk.status(started)["state"] == "done")


def test_cancel(desk: Desk) -> None:
    desk.write("own.py", "import time\ntime.sleep(60)\n")
    desk.job(script_job())
    code = """
import launcher
run = launcher.submit("job.yaml")
run.cancel()
try:
    run.wait()
except launcher.LaunchError as error:
    print(run.state, error.exit_code)
"""
    assert python(desk, code) == "cancelled 130\n"


MISTAKES = {
    "a wrong spec": ("launcher.run('wrong.yaml')", 2),
    "a wrong override": ("launcher.run('own.yaml', overrides={'resources.nods': 2})", 2),
    "no such run": ("launcher.open('nothing-of-that-name')", 2),
    "a failed script": ("launcher.run('own.yaml')", 1),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_errors_are_launch_errors_with_their_exit_code(desk: Desk, what: str) -> None:
    desk.write("wrong.yaml", "nonsense: 1\n")
    desk.write("own.py", "raise SystemExit(3)\n")
    desk.job(script_job(), "own")
    call, code = MISTAKES[what]
    said = python(
        desk, f"import launcher\ntry:\n    {call}\nexcept launcher.LaunchError as error:\n    print(error.exit_code, error)\n"
    )
    assert said.startswith(f"{code} ")
