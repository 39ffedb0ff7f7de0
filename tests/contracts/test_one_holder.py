"""CONTRACTS.md: a run has one holder at a time, whoever it is; and who falls silent is gone before it is replaced."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

import psutil
import pytest

from tests.contracts.conftest import LAUNCH, TORCHRUN, Case, Desk, rows, script_job, small, until, weights
from tests.contracts.test_ends import alive, at_work
from tests.patience import PATIENCE_S

WORKER = [sys.executable, "-m", "launcher.worker"]


def prepared(desk: Desk, **changed: object) -> Path:
    desk.write("slow", "")
    job = small(**{"train__max_steps": 60, "checkpoint__every": "20 steps", **changed})
    return Path(desk.launch(desk.job(job), "--prepare", "--json").json["path"])


def refused(desk: Desk, holder: int, *argv: str) -> str:
    outcome = desk.call(*argv)
    assert (outcome.code, outcome.out) == (2, ""), outcome.said
    assert f"process {holder} " in outcome.err
    assert "Traceback" not in outcome.err
    return outcome.err


def test_what_is_prepared_is_stopped_and_says_that_nothing_was_started(desk: Desk) -> None:
    run = prepared(desk)
    assert desk.status(run)["state"] == "stopped"
    assert "nothing was started" in desk.status(run)["reason"]


def test_a_plain_worker_holds_its_run(desk: Desk) -> None:
    run = prepared(desk, train__max_steps=6000)
    process = desk.start(*WORKER, str(run))
    until(lambda: len(rows(run)) > 2)
    refused(desk, process.pid, *WORKER, str(run))
    refused(desk, process.pid, LAUNCH, "resume", str(run))
    assert "SIGTERM" in refused(desk, process.pid, LAUNCH, "stop", str(run))
    assert desk.status(run)["state"] == "running"
    process.terminate()
    assert process.wait(PATIENCE_S) == 75, desk.screen()
    assert desk.status(run)["state"] == "stopped"


def test_beside_a_live_launch_a_plain_worker_is_refused(desk: Desk) -> None:
    run = prepared(desk, train__max_steps=6000)
    process = desk.start(LAUNCH, "resume", str(run))
    until(lambda: len(rows(run)) > 2)
    refused(desk, process.pid, *WORKER, str(run))
    assert desk.launch("cancel", str(run)).code == 0
    assert process.wait(PATIENCE_S) == 130, desk.screen()
    steps = [row["step"] for row in rows(run)]
    assert steps == [*range(1, len(steps) + 1)]


@pytest.mark.long
def test_torchruns_own_restart_takes_the_run_over_from_a_killed_rank(desk: Desk, undisturbed: Case) -> None:
    run = prepared(desk, train__data__num_workers=1, checkpoint__every="3 steps")
    torchrun = [TORCHRUN, "--standalone", "--nproc-per-node=1", "--max-restarts=1", "-m", "launcher.worker", str(run)]
    process = desk.start(*torchrun, env={"OMP_NUM_THREADS": "1"})
    until(lambda: len(rows(run)) > 4)
    (rank,) = (each for each in psutil.Process(process.pid).children() if "launcher.worker" in each.cmdline())
    rank.kill()
    (desk.folder / "slow").unlink()
    assert process.wait(PATIENCE_S) == 0, desk.screen()
    assert weights(run) == weights(undisturbed.path)
    assert rows(run) == rows(undisturbed.path)


def test_of_two_that_resume_at_once_in_the_background_one_is_refused_and_changes_nothing(stopped: Case, tmp_path: Path) -> None:
    run = Path(shutil.copytree(stopped.path, tmp_path / "run"))
    both = [
        stopped.desk.start(LAUNCH, "resume", str(run), "--detach", "--set", f"retry.max_restarts={number}") for number in (5, 6)
    ]
    codes = [each.wait(PATIENCE_S) for each in both]
    assert sorted(codes) == [0, 2], stopped.desk.screen()
    assert f"max_restarts: {5 + codes.index(0)}" in (run / "job.yaml").read_text()
    assert not (run / "job-2.yaml").exists()
    until(lambda: stopped.desk.status(run)["state"] == "done")
    assert stopped.desk.status(run)["attempts"] == 2


FIRST_STAYS = """
import os, time, launcher
launcher.pulse()
print("at work", flush=True)
while os.environ["LAUNCHER_ATTEMPT"] == "1":
    time.sleep(0.05)
"""


@pytest.mark.parametrize("silent", ["supervisor", "agent"])
def test_whoever_is_silent_is_given_up_before_the_next_attempt(desk: Desk, silent: str) -> None:
    """A frozen supervisor's agents end their ranks; a frozen agent is replaced."""
    desk.write("own.py", FIRST_STAYS)
    process = desk.start(LAUNCH, desk.job(script_job(retry={"max_restarts": 5, "lost_after": "8s"})))
    at_work(desk)
    supervisor = psutil.Process(process.pid)
    everyone = supervisor.children(recursive=True)
    agents = [each for each in everyone if "launcher.agent" in each.cmdline()]
    for each in [supervisor] if silent == "supervisor" else agents:
        os.kill(each.pid, signal.SIGSTOP)
    if silent == "supervisor":
        until(lambda: not any(alive(each) for each in everyone))
        process.send_signal(signal.SIGCONT)
    assert process.wait(PATIENCE_S) == 0, desk.screen()
    until(lambda: not any(alive(each) for each in everyone))
    told = desk.status()
    assert told["state"] == "done"
    assert told["attempts"] >= 2  # a busy machine may hold up the second for as long, too
