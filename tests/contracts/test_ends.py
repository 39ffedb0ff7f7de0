"""CONTRACTS.md, "Ends": exit code and state, row by row."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.contracts.conftest import LAUNCH, Case, Desk, checkpoints, lines, rows, script_job, small, until, weights
from tests.patience import PATIENCE_S

PATIENT = """
import sys, time, launcher
print("at work", flush=True)
while not launcher.should_stop():
    launcher.pulse()
    time.sleep(0.05)
print("saved", flush=True)
"""
DEAF = """
import signal, time, launcher
signal.signal(signal.SIGTERM, signal.SIG_IGN)
launcher.pulse()
print("at work", flush=True)
while True:
    time.sleep(0.1)
"""


def at_work(desk: Desk) -> None:
    """Returns once a script of the only run has printed that it is at work."""
    log = "logs/attempt-*/rank-0.log"
    until(lambda: any("at work" in each.read_text() for run in desk.runs() for each in run.glob(log)))


def begin(desk: Desk, script: str, **job: object) -> subprocess.Popen[bytes]:
    desk.write("own.py", script)
    process = desk.start(LAUNCH, desk.job(script_job(**job)))
    at_work(desk)
    return process


def test_trained_to_the_end_is_0_and_done(finished: Case) -> None:
    assert (finished.outcome.code, finished.desk.status()["state"]) == (0, "done")


def test_launch_stop_is_stopped_with_a_reason_and_saved(stopped: Case) -> None:
    told = stopped.desk.status()
    assert told["state"] == "stopped"
    assert told["reason"]
    assert checkpoints(stopped.path)[-1] == f"step-{rows(stopped.path)[-1]['step']:08d}"
    assert [event["exit_code"] for event in lines(stopped.path / "events.jsonl") if "exit_code" in event] == [75]


ENDLESS = ("--set", "train.max_steps=6000", "--set", "checkpoint.every=1000 steps")
"""So slow, neither its end nor a checkpoint of its own comes before the word to end, however late that is."""


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 75), (signal.SIGHUP, 75), (signal.SIGINT, 130)])
def test_a_signal_saves_and_stops(desk: Desk, undisturbed: Case, sent: signal.Signals, code: int) -> None:
    desk.write("slow", "")
    process = desk.start(LAUNCH, str(undisturbed.desk.folder / "job.yaml"), *ENDLESS)
    until(lambda: desk.runs() and len(rows(desk.run())) > 2)
    os.killpg(process.pid, sent)  # as a terminal does: to the whole group
    assert process.wait(PATIENCE_S) == code, desk.screen()
    assert desk.status()["state"] == "stopped"
    saved = rows(desk.run())[-1]["step"]
    assert checkpoints(desk.run()) == [f"step-{saved:08d}"]


def test_cancel_is_130_and_cancelled_and_saves_nothing(desk: Desk, undisturbed: Case) -> None:
    desk.write("slow", "")
    process = desk.start(LAUNCH, str(undisturbed.desk.folder / "job.yaml"), *ENDLESS)
    until(lambda: desk.runs() and len(rows(desk.run())) > 2)
    assert desk.launch("cancel", "last").code == 0
    assert process.wait(PATIENCE_S) == 130, desk.screen()
    assert desk.status()["state"] == "cancelled"
    assert checkpoints(desk.run()) == []


def test_a_second_ctrl_c_ends_at_once(desk: Desk) -> None:
    process = begin(desk, DEAF, run={"script": "own.py", "stop_grace": "10m"})
    process.send_signal(signal.SIGINT)
    until(lambda: desk.status()["state"] == "stopping")
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 130, desk.screen()
    assert desk.status()["state"] in ("stopped", "cancelled")


def test_stop_grace_is_the_time_from_sigterm_to_sigkill(desk: Desk) -> None:
    process = begin(desk, DEAF, run={"script": "own.py", "stop_grace": "1s"})
    assert desk.launch("stop", "last").code == 0
    assert process.wait(PATIENCE_S) == 75, desk.screen()
    assert any("its ranks have 1 s to save and end" in (each.get("reason") or "") for each in lines(desk.run() / "events.jsonl"))
    assert "SIGKILL" in desk.status()["reason"]


@pytest.mark.parametrize("ranks", [1, 2])
def test_ranks_of_a_script_that_all_exit_0_after_a_stop_count_as_75(desk: Desk, ranks: int) -> None:
    process = begin(desk, PATIENT, resources={"procs_per_node": ranks, "threads": 1, "device": "cpu"})
    until(lambda: desk.status()["state"] == "running")
    assert desk.launch("stop", "last").code == 0
    assert process.wait(PATIENCE_S) == 75, desk.screen()
    assert desk.status()["state"] == "stopped"
    assert "saved" in desk.screen()


AGREED = """
import os, time, launcher
print("at work", flush=True)
while not os.path.exists("agreed"):
    if os.environ["RANK"] == "0":
        if launcher.should_stop():
            open("agreed", "w").close()
        print("asked", flush=True)
    time.sleep(0.05)
print("saved", flush=True)
"""
"""Rank 0 alone asks, and tells the others."""


@pytest.mark.parametrize(("nodes", "ranks"), [(1, 2), (2, 1)])
def test_ranks_that_follow_the_one_who_asks_are_given_the_time(desk: Desk, nodes: int, ranks: int) -> None:
    process = begin(desk, AGREED, resources={"nodes": nodes, "procs_per_node": ranks, "threads": 1, "device": "cpu"})
    logs = [desk.run() / "logs" / "attempt-1" / f"rank-{rank}.log" for rank in range(2)]
    until(lambda: all(log.exists() and "at work" in log.read_text() for log in logs) and "asked" in logs[0].read_text())
    time.sleep(1)  # an agent tells at most every half a second that a rank asks
    # A round trip through every agent, which tells what is due before it answers: the supervisor knows.
    assert desk.launch("stacks", "last").code == 0
    assert desk.launch("stop", "last").code == 0
    assert process.wait(PATIENCE_S) == 75, desk.screen()
    told = desk.status()
    assert (told["state"], told["reason"]) == ("stopped", "saved, can be continued")
    assert "saved" in (desk.run() / "logs" / "attempt-1" / "rank-1.log").read_text()


def test_a_failed_training_is_1_and_failed_with_a_reason(desk: Desk) -> None:
    desk.write("own.py", "raise SystemExit(3)\n")
    assert desk.launch(desk.job(script_job())).code == 1
    told = desk.status()
    assert told["state"] == "failed"
    assert told["reason"]


def test_a_script_that_nobody_asked_to_stop_fails_with_75_as_with_any_number(desk: Desk) -> None:
    desk.write("own.py", "raise SystemExit(75)\n")
    assert desk.launch(desk.job(script_job())).code == 1
    assert desk.status()["state"] == "failed"
    assert json.loads((desk.run() / "failure.json").read_text())["exit_code"] == 75


def test_restarts_used_up_is_1(desk: Desk) -> None:
    desk.write("own.py", "import launcher, os\nlauncher.pulse()\nos._exit(5)\n")
    outcome = desk.launch(desk.job(script_job(retry={"max_restarts": 2})))
    assert outcome.code == 1, outcome.said
    told = desk.status()
    assert (told["state"], told["attempts"]) == ("failed", 3)
    decisions = [each for each in lines(desk.run() / "events.jsonl") if each["event"] in ("failure", "failed")]
    assert len(decisions) == 4
    assert all(" " in each["reason"] for each in decisions)


def test_a_users_error_before_the_first_step_is_not_worth_a_restart(desk: Desk) -> None:
    desk.write("own.py", "raise ValueError('at once')\n")
    assert desk.launch(desk.job(script_job(retry={"max_restarts": 3}))).code == 1
    assert desk.status()["attempts"] == 1


def test_a_signal_is_never_a_users_error(desk: Desk) -> None:
    desk.write("own.py", "import os, signal\nos.environ['LAUNCHER_ATTEMPT'] == '1' and os.kill(os.getpid(), signal.SIGKILL)\n")
    outcome = desk.launch(desk.job(script_job(retry={"max_restarts": 1})))
    assert outcome.code == 0, outcome.said
    assert desk.status()["attempts"] == 2


WRONG = {
    "unknown key": ["nonsense: 1\n"],
    "wrong type": ["seed: much\nrun: {script: own.py}\n"],
    "no program": ["seed: 1\n"],
    "both": ["run: {script: own.py}\ntrain: {}\n"],
    "no yaml": ["{"],
    "bare number for a duration": ["run: {script: own.py, stop_grace: 30}\n"],
    "unknown option": ["run: {script: own.py}\n", "--nonsense"],
    "wrong override": ["run: {script: own.py}\n", "--set", "resources.nods=2"],
    "both lengths": ["train: {model: mlp, epochs: 1, max_steps: 1}\n"],
    "a name that is no file name": ["name: a/b\nrun: {script: own.py}\n"],
    "a seed below zero": ["seed: -1\nrun: {script: own.py}\n"],
    "two programs": ["run: {script: own.py, module: own}\n"],
    "no such engine": ["resources: {agent: mine}\nrun: {script: own.py}\n"],
    "a key given twice": ["seed: 1\nseed: 2\nrun: {script: own.py}\n"],
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_spec_or_command_line_is_2_and_no_run_at_all(desk: Desk, what: str) -> None:
    text, *options = WRONG[what]
    desk.write("job.yaml", text)
    outcome = desk.launch("job.yaml", *options)
    assert outcome.code == 2, outcome.said
    assert desk.runs() == []
    assert "Traceback" not in outcome.said


def test_a_spec_that_is_not_there_is_2(desk: Desk) -> None:
    assert desk.launch("nowhere.yaml").code == 2


WORKER_SEES: dict[str, dict[str, Any]] = {
    "no such module": {"train__model": {"target": "nowhere:Net"}},
    "an argument that it does not take": {"train__model": {"target": "mine:Net", "width": 8, "depth": 3}},
    "keep_best of a metric that is not there": {"checkpoint__keep_best": "val/accuracy"},
    "a % of an endless stream": {
        "train__data__train": {"target": "mine:Stream", "samples": 50},
        "train__max_steps": None,
        "train__epochs": 1,
        "log__every": "10%",
    },
}


@pytest.mark.parametrize("what", WORKER_SEES)
def test_a_wrong_spec_that_only_the_worker_can_see_is_2_without_a_restart(desk: Desk, what: str) -> None:
    outcome = desk.launch(desk.job(small(**WORKER_SEES[what], retry__max_restarts=3)))
    assert outcome.code == 2, outcome.said
    assert "Traceback" not in outcome.said
    if desk.runs():
        told = desk.status()
        assert (told["state"], told["attempts"], rows(desk.run())) == ("failed", 1, [])


def test_a_wrong_environment_is_3(desk: Desk) -> None:
    desk.write("own.py", "")
    outcome = desk.launch(desk.job(script_job(resources={"device": "cuda"})), env={"CUDA_VISIBLE_DEVICES": ""})
    assert outcome.code == 3, outcome.said
    assert "Traceback" not in outcome.said
    assert "cuda" in outcome.said.lower()
    assert all(desk.status(run)["state"] == "failed" for run in desk.runs())


def test_a_place_where_no_run_can_be_written_is_3(desk: Desk) -> None:
    desk.write("own.py", "")
    outcome = desk.launch(desk.job(script_job()), "--runs", str(desk.folder / "own.py" / "runs"))
    assert outcome.code == 3, outcome.said
    assert "Traceback" not in outcome.said


def test_the_death_of_the_supervisor_is_stopped_with_the_stale_lock_as_reason(desk: Desk) -> None:
    process = begin(desk, PATIENT)
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    until(lambda: not any(alive(each) for each in family))
    told = desk.status()
    assert told["state"] == "stopped"
    assert "stale lock" in told["reason"]
    assert desk.launch("list", "--json").json[0]["state"] == "stopped"


def alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_a_killed_rank_is_restarted_from_the_newest_checkpoint(desk: Desk, undisturbed: Case) -> None:
    desk.write("slow", "")
    spec = str(undisturbed.desk.folder / "job.yaml")
    process = desk.start(LAUNCH, spec, "--set", "retry.max_restarts=1", "--set", "checkpoint.every=2 steps")
    until(lambda: desk.runs() and len(checkpoints(desk.run())) > 1)
    (rank,) = (each for each in psutil.Process(process.pid).children(recursive=True) if is_rank(each))
    rank.kill()
    until((desk.run() / "logs" / "attempt-2").exists)
    (desk.folder / "slow").unlink()
    assert process.wait(PATIENCE_S) == 0, desk.screen()
    assert weights(desk.run()) == weights(undisturbed.path)
    assert (desk.run() / "metrics.jsonl").read_bytes() == (undisturbed.path / "metrics.jsonl").read_bytes()
    assert any(event.get("reason") for event in lines(desk.run() / "events.jsonl"))


def is_rank(process: psutil.Process) -> bool:
    """It was forked, so its command line does not tell: its standard output is its log."""
    try:
        return Path(f"/proc/{process.pid}/fd/1").readlink().name == "rank-0.log"
    except OSError:
        return False


def test_time_asked_for_is_ignored_on_this_machine_and_said_so(finished: Case) -> None:
    assert any("resources.time" in line for line in finished.outcome.said.splitlines())


def test_foreground_supervisor_is_the_launch_process_and_agents_have_their_own_session(desk: Desk) -> None:
    process = begin(desk, PATIENT)
    family = psutil.Process(process.pid).children(recursive=True)
    assert family, "everything is a descendant of launch"
    assert all(os.getsid(each.pid) != os.getsid(process.pid) for each in family if alive(each))
    assert not any(desk.run().name in " ".join(each.cmdline()) for each in psutil.Process(process.pid).children()), "names no run"
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 75


def test_a_detached_supervisor_has_a_session_of_its_own_and_names_its_run(desk: Desk) -> None:
    desk.write("own.py", PATIENT)
    outcome = desk.launch(desk.job(script_job()), "--detach")
    assert outcome.code == 0
    assert desk.run().name in outcome.out
    at_work(desk)
    (supervisor,) = (each for each in psutil.process_iter() if "supervise" in (line := command(each)) and str(desk.run()) in line)
    assert os.getsid(supervisor.pid) == supervisor.pid
    assert desk.launch("stop", "last", "--wait").code == 0
    assert desk.status()["state"] == "stopped"


def command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def test_stop_and_cancel_of_a_run_that_does_not_run_are_refused(finished: Case) -> None:
    for verb in ("stop", "cancel"):
        outcome = finished.desk.launch(verb, "last")
        assert outcome.code == 2
        assert "done" in outcome.err
    assert finished.desk.status()["state"] == "done"


@pytest.mark.long
def test_two_launches_at_one_moment_share_nothing(desk: Desk) -> None:
    desk.write("own.py", "import os\nprint(os.environ['MASTER_PORT'], flush=True)\n")
    job = desk.job(script_job(resources={"procs_per_node": 2, "threads": 1, "device": "cpu"}))
    both = [desk.start(LAUNCH, job), desk.start(LAUNCH, job)]
    assert [each.wait(PATIENCE_S) for each in both] == [0, 0], desk.screen()
    ports = {(run / "logs" / "attempt-1" / "rank-0.log").read_text() for run in desk.runs()}
    assert len(ports) == 2


FRAGILE = """
import mine

calls = 0


def loss(output, batch):
    global calls
    calls += 1
    if calls == 4:
        raise ValueError("every fourth step")
    return mine.loss(output, batch)
"""


def test_the_restart_budget_is_counted_since_the_last_progress(desk: Desk) -> None:
    """Each attempt takes three steps, of which at least two are kept, and one restart is allowed: it gets to the end."""
    desk.write("fragile.py", FRAGILE)
    job = small(train__loss="fragile:loss", train__max_steps=8, checkpoint__every="2 steps", retry__max_restarts=1)
    outcome = desk.launch(desk.job(job))
    assert outcome.code == 0, outcome.said
    assert desk.status()["attempts"] == 4
    assert (desk.run() / "failure.json").exists()
