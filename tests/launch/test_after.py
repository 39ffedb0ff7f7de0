"""`--after RUN` on this machine; under a queue: tests/slurm/test_submit.py."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from launcher.events import Summary
from launcher.rundir import RunDir, owner
from launcher.supervisor import following
from tests.patience import PATIENCE_S

JOB = "run: {program: [sh, -c, '%s']}\nresources: {backend: local, procs_per_node: 1}\nretry: {max_restarts: 0, lost_after: 4m}\n"


class Here:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def submit(self, name: str, does: str, *argv: str) -> str:
        (self.folder / f"{name}.yaml").write_text(JOB % does)
        return str(self.launch(f"{name}.yaml", "--detach", "--json", *argv)["id"])

    def launch(self, *argv: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "launcher", *argv], cwd=self.folder, capture_output=True, text=True, check=True
        )
        return json.loads(done.stdout) if "--json" in argv else done.stdout

    def wait(self, run: str, state: str) -> str | None:
        until = time.monotonic() + PATIENCE_S
        while (now := self.launch("status", run, "--json"))["state"] != state:
            assert time.monotonic() < until, now
            time.sleep(0.2)
        return now["reason"]  # type: ignore[no-any-return]

    def wait_until_left(self, run: str) -> None:
        """The supervisor's last word comes before its exit, and until then it holds the run."""
        until = time.monotonic() + PATIENCE_S
        while owner(RunDir(self.folder / "runs" / run)) is not None:
            assert time.monotonic() < until
            time.sleep(0.05)


@pytest.fixture
def here(tmp_path: Path) -> Here:
    return Here(tmp_path)


def test_begins_once_the_other_is_done(here: Here) -> None:
    first = here.submit("first", "while [ ! -e go ]; do sleep 0.1; done; touch gone")
    here.wait(first, "running")
    second = here.submit("second", "cat gone", "--after", first)
    assert here.wait(second, "queued") == f"waits for run {first}, which is running"
    (here.folder / "go").touch()
    here.wait(second, "done")


def test_ends_with_the_reason_when_the_other_failed_and_resume_begins_it_all_the_same(here: Here) -> None:
    first = here.submit("first", "exit 1")
    second = here.submit("second", "touch began", "--after", first)
    reason = here.wait(second, "stopped") or ""
    assert f"run {first}, which it was to follow, is failed" in reason
    assert not (here.folder / "began").exists()
    here.wait_until_left(second)
    here.launch("resume", second)
    here.wait(second, "done")


@pytest.mark.parametrize(("asked", "state"), [("stop", "stopped"), ("cancel", "cancelled")])
def test_can_be_ended_while_it_waits(here: Here, asked: str, state: str) -> None:
    first = here.submit("first", "while [ ! -e go ]; do sleep 0.1; done")
    second = here.submit("second", "true", "--after", first)
    here.wait(second, "queued")
    here.launch(asked, second)
    assert here.wait(second, state) == f"launch {asked}, before it began"
    (here.folder / "go").touch()
    here.wait(first, "done")


def test_in_a_queue_a_stop_goes_before_another_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunDir(tmp_path / "run")
    run.requests.mkdir(parents=True)
    run.request("stop").touch()
    following.follow(run, RunDir(tmp_path / "other"))
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(following, "standing", lambda _: Summary(state="running", job="5"))
    outcome = following.wait_turn(run, "slurm", ())
    assert outcome is not None
    assert (outcome.state, outcome.reason) == ("stopped", "launch stop, before it began")
