"""What holds for every command: help, wrong words, exit codes, JSON alone on stdout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import launcher.cli.status
from launcher.cli.commands import COMMANDS

SCRIPT = "resources: {procs_per_node: 1}\nrun: {script: train.py}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(launch: Any, name: str) -> None:
    said = launch(name, "--help")
    assert said.code == 0
    assert said.out.startswith(f"Usage: launch {name}")
    assert "launch " in said.out.split("\n\n", 1)[1] or name == "supervise"


def test_alone_it_says_what_to_do_next(launch: Any, project: Path) -> None:
    assert "launch init" in launch().out
    (project / "jobs").mkdir()
    (project / "jobs/mine.yaml").write_text(SCRIPT)
    said = launch()
    assert (said.code, "launch init" in said.out) == (0, False)
    assert "launch jobs/mine.yaml " in said.out
    assert len(said.out.splitlines()) <= 5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rnu", "job.yaml"], "Did you mean 'run'?"),
        (["job"], "neither a command nor a job file. Did you mean 'job.yaml'?"),
        (["resnet"], "Did you mean 'jobs/resnet.yaml'?"),
        (["absent.yaml"], "absent.yaml"),
        (["job.yaml", "--epochs", "3"], "--set train.epochs=VALUE"),
        (["job.yaml", "--nods", "2"], "--nodes"),
        (["job.yaml", "--nodes", "0"], "--nodes"),
        (["job.yaml", "--nodes", "two"], "--nodes"),
        (["job.yaml", "--backend", "slrm"], "--backend"),
        (["job.yaml", "--set", "run.args"], "--set 1"),
        (["job.yaml", "--set", "seed=1", "--set", "sed=2"], "--set 2"),
        (["job.yaml", "--dry-run", "--detach"], "one of --dry-run"),
        (["job.yaml", "--ranks", "7", "--dry-run"], "no rank 7"),
        (["job.yaml", "--ranks", "x", "--dry-run"], "expected all, or ranks"),
        (["status"], "there are no runs"),
        (["supervise", "nowhere"], "not a run directory"),
        (["completion", "tcsh"], "bash, zsh and fish"),
        (["explain", "train.optimiser"], "Did you mean 'optimizer'?"),
    ],
)
def test_wrong_words_are_a_sentence_and_exit_2(launch: Any, project: Path, words: list[str], said: str) -> None:
    (project / "job.yaml").write_text(SCRIPT)
    (project / "jobs").mkdir()
    (project / "jobs/resnet.yaml").write_text(SCRIPT)
    answer = launch(*words)
    assert answer.code == 2
    assert said in answer.err
    assert answer.out == ""
    assert "Traceback" not in answer.err


@pytest.mark.parametrize("words", [["job.yaml", "--dry-run"], ["--dry-run", "job.yaml"], ["run", "job.yaml", "--dry-run"]])
def test_a_job_file_is_run_wherever_it_stands(launch: Any, project: Path, words: list[str]) -> None:
    (project / "job.yaml").write_text(SCRIPT)
    said = launch(*words)
    assert said.code == 0
    assert said.out.startswith("job: what would run")


def test_our_own_mistake_is_a_traceback_and_says_so(launch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: object) -> None:
        raise KeyError("ours")

    monkeypatch.setattr(launcher.cli.status.command, "callback", broken)
    said = launch("status")
    assert said.code == 70
    assert "Traceback" in said.err
    assert "bug in launcher" in said.err


def test_ctrl_c_is_quiet(launch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(launcher.cli.status.command, "callback", interrupted)
    said = launch("status")
    assert (said.code, said.out, said.err) == (130, "", "")


def test_a_reader_that_leaves_gets_no_traceback(project: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, "-m", "launcher", "schema"], stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_the_launch_half_imports_nothing_heavy(project: Path) -> None:
    (project / "job.yaml").write_text(SCRIPT)
    heavy = ["torch", "numpy", "wandb", "accelerate", "matplotlib", "sklearn"]
    program = (
        "import sys; from launcher.cli import main; code = main(['job.yaml', '--dry-run']);"
        f"print([name for name in {heavy} if name in sys.modules], code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[] 0"


def test_help_does_not_load_the_job_types() -> None:
    program = (
        "import sys; from launcher.cli import main; main(['--help']); print('pydantic' in sys.modules, 'rich' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False False"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_line_that_click_answers(launch: Any, shell: str) -> None:
    assert f"_LAUNCH_COMPLETE={shell}_source launch" in launch("completion", shell).out
    environment = {"_LAUNCH_COMPLETE": f"{shell}_source", "PATH": "/usr/bin:/bin"}
    program = "import sys; sys.argv[0] = 'launch'; from launcher.cli import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.returncode == 0
    assert "_LAUNCH_COMPLETE" in done.stdout


def test_completion_knows_commands_runs_and_fields(launch: Any, by_hand: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    by_hand("20260101-000000-resnet-aaaa")
    assert completed("launch stat") == ["status"]
    assert completed("launch status res") == ["resnet"]
    assert completed("launch status 2026") == ["20260101-000000-resnet-aaaa"]
    assert "train.optimizer" in completed("launch explain train.opt")


def completed(line: str) -> list[str]:
    words = line.split(" ")
    environment = {"_LAUNCH_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1), "PATH": "/usr/bin"}
    program = "import sys; sys.argv[0] = 'launch'; from launcher.cli import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    answers = [answer.split(",", 1) for answer in done.stdout.splitlines()]
    return [value for kind, value in answers if kind == "plain"]
