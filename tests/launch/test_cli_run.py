"""run, resume, supervise: the plan in words, and real runs of programs that need no torch."""

from __future__ import annotations

import errno
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from launcher.events import summarize
from launcher.rundir import RunDir, owner
from tests.launch.conftest import Launch
from tests.patience import PATIENCE_S

ENVIRONMENT = {"PATH": os.environ["PATH"], "NO_COLOR": "1"}


def program(shell: str, **more: str) -> str:
    """A job that runs a line of shell in each of two ranks."""
    extra = "".join(f"{key}: {value}\n" for key, value in ({"retry": "{lost_after: 4m}"} | more).items())
    return f"resources: {{procs_per_node: 2, threads: 1}}\nrun: {{program: [sh, -c, {json.dumps(shell)}]}}\n{extra}"


@pytest.fixture
def write(project: Path) -> Callable[[str, str], Path]:
    def to(name: str, text: str) -> Path:
        path = project / name
        path.write_text(text)
        return path

    return to


def test_dry_run_shows_world_batch_steps_and_each_nodes_command(launch: Any, write: Any, train: str, monkeypatch: Any) -> None:
    write("j.yaml", f"resources: {{nodes: 2, procs_per_node: 2, threads: 3, device: cpu}}\nenv: {{A: '1', B: same}}\n{train}")
    monkeypatch.setenv("B", "same")
    out = re.sub(" +", " ", launch("j.yaml", "--dry-run").out)
    assert "world 2 nodes x 2 ranks = 4 ranks on cpu, 3 threads each" in out
    assert "batch 128 = 4 ranks x micro-batch 32 x accumulation 1" in out
    assert "steps 1437 samples, 12 steps per epoch, 24 steps in 2 epochs" in out
    assert out.count("-P -m launcher.agent --id") == 2
    assert out.count("\n A=1\n") == 2
    assert "B=same\n node" not in out
    assert "a rehearsal: 2 nodes share this machine" in out


def test_dry_run_with_uneven_shares_says_so(launch: Any, write: Any, train: str) -> None:
    write("j.yaml", f"resources: {{procs_per_node: 3, device: cpu}}\n{train}")
    assert "128 over 3 ranks: up to 43 each" in launch("j.yaml", "--dry-run").out


def test_dry_run_writes_nothing_and_prints_no_secret(launch: Any, write: Any, project: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("TOKEN", "hunter2")
    write("j.yaml", program("true", env="{KEY: 'x-${env:TOKEN}'}"))
    said = launch("j.yaml", "--dry-run")
    assert "${env:TOKEN}" in said.out
    assert 'KEY=x-"${TOKEN}"' in said.out
    assert "hunter2" not in said.out
    assert {path.name for path in project.iterdir()} == {"j.yaml", "train.py"}


def test_dry_run_as_json_is_the_plan(launch: Any, write: Any) -> None:
    write("j.yaml", program("true"))
    plan = launch("j.yaml", "--dry-run", "--json").json
    assert (plan["name"], plan["world"]["world_size"], plan["entry"]["kind"]) == ("j", 2, "program")
    assert plan["supervisor"][-1] == "{run_dir}"


def test_flags_are_short_for_set(launch: Any, write: Any) -> None:
    write("j.yaml", program("true"))
    flags = launch("j.yaml", "--nodes", 2, "--backend", "local", "--dry-run", "--json").json
    sets = launch("j.yaml", "--set", "resources.nodes=2", "--set", "resources.backend=local", "--dry-run", "--json").json
    assert flags == sets


@pytest.mark.parametrize("runs", ["runs", 'it\'s $HOME; "a" * b'])
def test_prepare_starts_nothing_and_prints_commands_that_work(launch: Any, write: Any, project: Path, runs: str) -> None:
    write("j.yaml", program("echo rank $RANK has $NOTE", env='{NOTE: "it\'s"}'))
    prepared = launch("j.yaml", "--prepare", "--json", "--runs", runs).json
    run = RunDir(prepared["path"])
    assert summarize(run).state == "stopped"
    assert not run.logs.exists()
    done = subprocess.run(prepared["commands"]["supervise"], shell=True, cwd="/", capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    assert summarize(run).state == "done"
    assert run.rank_log(1, 1).read_text() == "rank 1 has it's\n"


def test_dry_run_says_where_ranks_share_cores(launch: Any, write: Any) -> None:
    write("j.yaml", "resources: {procs_per_node: 1000, device: cpu}\nrun: {program: [sh]}\n")
    assert re.search(r"note +1000 ranks share \d+ cores?: fewer", launch("j.yaml", "--dry-run").out)


def test_prepared_torchrun_line_works_when_pasted(launch: Any, write: Any, project: Path) -> None:
    pytest.importorskip("torch", reason="it is torchrun that runs")
    write("j.yaml", program("echo rank $RANK has $NOTE in $PWD >> $OUT", env=f'{{NOTE: "it\'s", OUT: {project}/out}}'))
    prepared = launch("j.yaml", "--prepare", "--json").json
    done = subprocess.run(
        prepared["commands"]["torchrun"], shell=True, cwd=project, capture_output=True, text=True, env=ENVIRONMENT
    )
    assert done.returncode == 0, done.stderr
    lines = sorted((project / "out").read_text().splitlines())
    assert lines == [f"rank {rank} has it's in {project}" for rank in (0, 1)]


def test_a_run_in_the_foreground_shows_rank_0_and_how_it_ended(launch: Any, write: Any) -> None:
    write("j.yaml", program("echo hello from $RANK"))
    said = launch("j.yaml")
    assert said.code == 0
    assert "hello from 0" in said.out
    assert "hello from 1" not in said.out
    assert re.search(r"^j done after \d", said.out, re.MULTILINE)
    assert launch("status", "--json").json["state"] == "done"
    assert launch("logs", "--ranks", "1").out == "hello from 1\n"


def test_with_json_the_output_goes_to_stderr(launch: Any, write: Any) -> None:
    write("j.yaml", program("echo hello from $RANK"))
    said = launch("j.yaml", "--ranks", "all", "--json")
    assert said.json["state"] == "done"
    assert "rank 1 | hello from 1" in said.err


def test_a_failure_ends_with_its_root_cause_and_exit_1(launch: Any, write: Any) -> None:
    write("j.yaml", program("if [ $RANK = 1 ]; then echo I give up >&2; exit 7; fi; sleep 20"))
    said = launch("j.yaml")
    assert said.code == 1
    assert "root cause: rank 1 on node 0" in said.err
    assert "exit code 7" in said.err
    assert "| I give up" in said.err
    assert "what to do: its log says more: launch logs" in said.err
    assert launch("status", "--json").json["state"] == "failed"


def test_detach_then_status_logs_stop_and_resume(launch: Any, write: Any, project: Path) -> None:
    write("j.yaml", program("trap 'echo saved; exit 0' TERM; echo begun; while true; do sleep 0.1; done"))
    started = launch("j.yaml", "--detach", "--json").json
    run = RunDir(started["path"])
    try:
        wait_for(lambda: run.rank_log(1, 0).exists() and "begun" in run.rank_log(1, 0).read_text())
        wait_for(lambda: launch("status", started["id"], "--json").json["state"] == "running")
        resumed = launch("resume", "last")
        assert resumed.code == 2
        assert "is live: process" in resumed.err
        assert launch("rm", "last", "--yes").code == 2
        said = launch("stop", "last", "--wait")
        assert "stopped" in said.out
    finally:
        end(run)
    assert launch("logs", "last").out == "begun\nsaved\n"
    assert launch("status", "--json").json["state"] == "stopped"
    changed = launch("resume", "last", "--set", "run.program=[sh]")
    assert changed.code == 2
    assert "run.program" in changed.err


def test_follow_shows_all_and_ends_with_the_run(launch: Any, write: Any, project: Path) -> None:
    write("j.yaml", program("for n in 1 2 3; do echo line $n; sleep 0.3; done"))
    launch("j.yaml", "--detach")
    said = launch("logs", "--follow")
    assert said.code == 0
    assert said.out == "line 1\nline 2\nline 3\n"
    assert "done after" in said.err


def test_a_script_that_is_not_there_is_told_before_anything_starts(launch: Any, write: Any, project: Path) -> None:
    (project / "train.py").touch()
    write("j.yaml", "run: {script: trian.py}\n")
    said = launch("j.yaml")
    assert said.code == 2
    assert f"there is no file {project / 'trian.py'}. Did you mean 'train.py'?" in said.err
    assert not (project / "runs").exists()


def test_a_script_in_a_jobs_place_is_told_what_a_job_is(launch: Any, project: Path) -> None:
    (project / "train.py").write_text("def main(): ...\n")
    assert "'run: {script: train.py}'" in launch("train.py").err


@pytest.mark.parametrize(("presses", "code"), [(1, 130), (2, 130)])
def test_ctrl_c_ends_the_run_once_gently_twice_at_once(write: Any, project: Path, presses: int, code: int) -> None:
    deaf = "trap '' TERM; " if presses == 2 else ""
    write("j.yaml", program(f"{deaf}echo begun; sleep 60 & wait", retry="{max_restarts: 0, lost_after: 4m}"))
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    argv = [sys.executable, "-m", "launcher", "j.yaml"]
    with subprocess.Popen(argv, **streams, start_new_session=True, env=ENVIRONMENT) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if line.startswith(("begun", "[launch] SIGINT")) and presses:
                    process.send_signal(signal.SIGINT)
                    presses -= 1
            assert process.wait(PATIENCE_S) == code
        finally:
            process.kill()


def test_a_reader_that_leaves_does_not_end_the_run(write: Any, project: Path) -> None:
    write("j.yaml", program("for n in 1 2 3 4 5; do echo line $n; sleep 0.2; done"))
    line = f"{sys.executable} -m launcher j.yaml 2>&1 | head -n 2; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=ENVIRONMENT)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 2)
    assert [summarize(RunDir(path)).state for path in (project / "runs").iterdir()] == ["done"]


def test_a_terminal_that_goes_saves_and_stops(write: Any, project: Path) -> None:
    write("j.yaml", program("trap 'echo saved; exit 0' TERM; echo begun; while true; do sleep 0.1; done"))
    child, terminal = pty.fork()
    if child == 0:
        os.execve(sys.executable, [sys.executable, "-m", "launcher", "j.yaml"], ENVIRONMENT)
    seen = b""
    while b"begun" not in seen:
        seen += os.read(terminal, 4096)
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 75
    [run] = [RunDir(path) for path in (project / "runs").iterdir()]
    assert summarize(run).state == "stopped"
    assert run.rank_log(1, 0).read_text() == "begun\nsaved\n"


def test_a_finished_run_is_not_resumed(launch: Any, by_hand: Any, done: Any) -> None:
    by_hand(ledger=done)
    said = launch("resume", "last")
    assert said.code == 0
    assert "is done: there is nothing left to train" in said.out
    assert launch("resume", "last", "--json").json["state"] == "done"


def test_a_run_that_stopped_early_says_so_and_is_not_made_longer(launch: Any, by_hand: Any, done: Any, train: str) -> None:
    reason = "stopped early: val/loss was evaluated 3 times since its best (0.1, at step 12) and did not get better"
    by_hand(ledger=[*done[:-1], {**done[-1], "event": "early_stop", "reason": reason}, done[-1]], job=train)
    for arguments in ([], ["--set", "train.epochs=40"]):
        said = launch("resume", "last", *arguments)
        assert said.code == 0
        assert f"is done, it {reason}: there is nothing left to train" in said.out
        assert "To train it longer" not in said.out
    assert launch("status", "--json").json["reason"] == reason


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ("seed=3", "seed: 0 -> 3"),
        ("name=other", "name: j -> other"),
        ("train.optimizer.lr=0.5", "train.optimizer.lr: 0.1 -> 0.5"),
        ("train.epochs=1", "train.epochs: 2 -> 1"),
        ("train.data.batch_size=64", "train.data.batch_size: 128 -> 64"),
    ],
)
def test_what_changes_the_mathematics_is_refused_as_a_diff(launch: Any, by_hand: Any, done: Any, change: str, shown: str) -> None:
    run = by_hand(ledger=done[:5])
    before = run.job.read_text()
    said = launch("resume", "last", "--set", change)
    assert said.code == 2
    assert shown in said.err
    assert run.job.read_text() == before


def test_epochs_do_not_grow_under_a_schedule_that_depends_on_them(launch: Any, by_hand: Any, done: Any, train: str) -> None:
    by_hand(ledger=done, job=train + "  schedule: cosine\n")
    said = launch("resume", "last", "--set", "train.epochs=4")
    assert said.code == 2
    assert "train.epochs: 2 -> 4" in said.err


def wait_for(true: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def end(run: RunDir) -> None:
    holder = owner(run)
    if holder is not None:
        os.kill(holder["pid"], signal.SIGKILL)


def test_a_run_directory_that_cannot_be_filled_is_no_run(project: Path, launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (project / "j.yaml").write_text("run: {program: [sh, -c, exit]}\n")
    monkeypatch.setattr("launcher.prepare.write_atomic", full)
    said = launch("run", "j.yaml", "--prepare")
    assert (said.code, "No space left on device" in said.err) == (3, True)
    assert list((project / "runs").iterdir()) == []
