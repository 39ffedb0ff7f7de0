"""Commands about job files: validate, explain, schema, init, debug; and eval of a real training."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import launcher.cli.init
from launcher.cli.eval import last_object
from launcher.load import load_job

TORCH = importlib.util.find_spec("torch") is not None


def test_validate_tells_of_every_error_with_its_line(launch: Any, project: Path) -> None:
    (project / "bad.yaml").write_text("sed: 1\nrun: {script: a.py, arg: []}\n")
    said = launch("validate", "bad.yaml")
    assert (said.code, said.out) == (2, "")
    assert "bad.yaml:1:1" in said.err
    assert "bad.yaml:2:" in said.err


def test_validate_as_json_holds_the_problems(launch: Any, project: Path, train: str) -> None:
    (project / "good.yaml").write_text(train)
    (project / "bad.yaml").write_text("sed: 1\n")
    said = launch("validate", "good.yaml", "bad.yaml", "--json")
    good, bad = said.json
    assert said.code == 2
    assert (good["valid"], good["name"], bad["valid"]) == (True, "good", False)
    first = bad["problems"][0]
    assert (first["line"], first["column"], first["path"]) == (1, 1, ["sed"])
    assert launch("validate", "good.yaml", "--json").json["valid"] is True


def test_validate_takes_overrides(launch: Any, project: Path, train: str) -> None:
    (project / "j.yaml").write_text(train)
    assert launch("validate", "j.yaml", "--set", "train.epochs=0").code == 2
    assert "valid" in launch("validate", "j.yaml", "--set", "train.epochs=3").out


@pytest.mark.parametrize("path", ["", "train.optimizer", "train.optimizer.sgd", "resources.nodes"])
def test_explain_in_words_and_as_json(launch: Any, path: str) -> None:
    words = launch("explain", *([path] if path else []))
    data = launch("explain", *([path] if path else []), "--json").json
    assert words.code == 0
    assert data["path"] == path
    assert data["doc"].splitlines()[0] in words.out


def test_schema_is_json(launch: Any) -> None:
    assert "train" in launch("schema").json["properties"]


def test_init_writes_starter_jobs_that_load_and_keeps_what_is_there(launch: Any, project: Path) -> None:
    assert launch("init").code == 0
    jobs = sorted((project / "jobs").glob("*.yaml"))
    assert "resnet.yaml" in [job.name for job in jobs]
    for job in jobs:
        load_job(job)
    jobs[0].write_text("mine")
    again = launch("init")
    assert f"jobs/{jobs[0].name} is there already, kept" in again.out
    assert jobs[0].read_text() == "mine"


def test_init_prefers_what_the_wheel_carries(launch: Any, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("starter/jobs/one.yaml", "starter/slurm/train.sbatch"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("here")
    monkeypatch.setattr(launcher.cli.init, "PACKAGE", tmp_path)
    launch("init")
    written = {str(path.relative_to(project)) for path in project.rglob("*.*") if path.is_file()}
    assert written >= {"jobs/one.yaml", "slurm/train.sbatch"}


def test_init_where_nothing_can_be_written_is_exit_3(launch: Any, project: Path) -> None:
    (project / "jobs").write_text("a file in the way")
    said = launch("init")
    assert said.code == 3
    assert "cannot write into" in said.err


@pytest.mark.parametrize(
    ("body", "code", "out"),
    [
        ("import sys; print(sys.argv[1:], __name__)", 0, "['--lr', '1e-3'] __main__\n"),
        ("import os; print(os.environ['NOTE'])", 0, "from here\n"),
        ("raise SystemExit(7)", 7, ""),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", 143, ""),
    ],
)
def test_debug_runs_a_script_in_one_ordinary_process(project: Path, body: str, code: int, out: str) -> None:
    (project / "mine.py").write_text(body)
    (project / "j.yaml").write_text("env: {NOTE: 'from ${env:PLACE}'}\nrun: {script: mine.py, args: [--lr, 1e-3]}\n")
    done = debugged(PLACE="here")
    assert (done.returncode, done.stdout) == (code, out)
    assert not (project / "runs").exists()


def test_debug_with_pdb_opens_the_debugger_at_the_exception(project: Path) -> None:
    (project / "mine.py").write_text("secret = 41\nraise ValueError('here')\n")
    (project / "j.yaml").write_text("run: {script: mine.py}\n")
    done = debugged("--pdb", typed="p secret + 1\nq\n")
    assert "42" in done.stdout


@pytest.mark.parametrize(
    ("job", "words", "code", "said"),
    [
        ("run: {script: mine.py}\n", ["--steps", "3"], 2, "for train:"),
        ("run: {program: [true]}\n", ["--pdb"], 2, "needs a Python script"),
        ("env: {A: '${env:ABSENT}'}\nrun: {program: [true]}\n", [], 3, "${env:ABSENT}, which is not set"),
        ("run: {program: [no-such-program]}\n", [], 3, "cannot start no-such-program"),
    ],
)
def test_debug_refuses_in_a_sentence(project: Path, job: str, words: list[str], code: int, said: str) -> None:
    (project / "j.yaml").write_text(job)
    (project / "mine.py").touch()
    done = debugged(*words)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def debugged(*words: str, typed: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "launcher", "debug", "j.yaml", *words]
    return subprocess.run(argv, input=typed, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", **environment})


@pytest.mark.parametrize(
    ("printed", "values", "others"),
    [
        ('loading\n{"val/loss": 0.5}\n', {"val/loss": 0.5}, ["loading"]),
        ('{"mine": 1}\n{"val/loss": 0.5}\nbye\n3\n', {"val/loss": 0.5}, ['{"mine": 1}', "bye", "3"]),
        ('{"val/loss": 0.5}\n{"mine": 1}\n', {"val/loss": 0.5}, ['{"mine": 1}']),
        ('{"mine": 1}\n', None, ['{"mine": 1}']),  # a JSON line of a log, before it failed
        ("[1]\nTraceback\n", None, ["[1]", "Traceback"]),
        ("", None, []),
    ],
)
def test_what_a_users_code_prints_beside_an_evaluation_is_not_taken_for_it(printed: str, values: Any, others: list[str]) -> None:
    assert last_object(printed, "val") == (values, others)


def test_eval_is_for_trainings(launch: Any, by_hand: Any) -> None:
    by_hand(job="run: {script: mine.py}\n")
    said = launch("eval", "last")
    assert said.code == 2
    assert "eval is for train:" in said.err


@pytest.mark.long
@pytest.mark.skipif(not TORCH, reason="trains")
def test_a_training_is_evaluated_as_its_last_row_says(launch: Any, project: Path, train: str) -> None:
    (project / "j.yaml").write_text(f"resources: {{procs_per_node: 1, device: cpu, threads: 1}}\nlog: {{plots: false}}\n{train}")
    trained = launch("j.yaml", "--json")
    assert trained.code == 0, trained.err
    run = project / "runs" / trained.json["id"]
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    said = launch("eval", "last", "--split", "val", "--json")
    assert said.json["val/accuracy"] == pytest.approx(last["val/accuracy"], abs=1e-12)
    assert said.json["val/loss"] == pytest.approx(last["val/loss"], rel=1e-6)
    absent = launch("eval", "last", "--checkpoint", "step-00000007")
    assert (absent.code, absent.out) == (2, "")
