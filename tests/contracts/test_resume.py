"""CONTRACTS.md, "launch resume": what may change, what may not, and what happens then."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.contracts.conftest import LAUNCH, Case, Desk, checkpoints, lines, rows, script_job, small, until, weights
from tests.patience import PATIENCE_S


@pytest.fixture
def there(stopped: Case, tmp_path: Path) -> Path:
    """A copy of the stopped run, to be continued or refused."""
    return Path(shutil.copytree(stopped.path, tmp_path / "run"))


@pytest.fixture(scope="module")
def continued(stopped: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Continued on two nodes with all changed that may be; then once more, being finished."""
    run = Path(shutil.copytree(stopped.path, tmp_path_factory.mktemp("continued") / "run"))
    changes = [
        "log.every=7 steps",
        "retry.max_restarts=1",
        "checkpoint.keep_last=3",
        "env.MORE=1",
    ]
    outcome = stopped.desk.launch("resume", str(run), "--nodes", "2", *(word for change in changes for word in ("--set", change)))
    assert outcome.code == 0, outcome.said
    return run


def test_same_directory_next_attempt_without_a_flag(stopped: Case, continued: Path) -> None:
    told = stopped.desk.status(continued)
    assert (told["state"], told["attempts"], told["step"]) == ("done", 2, 60)
    assert (continued / "logs" / "attempt-2" / "rank-1.log").exists()
    assert {event["attempt"] for event in lines(continued / "events.jsonl")} == {None, 1, 2}


def test_it_goes_on_from_the_newest_checkpoint(stopped: Case, continued: Path) -> None:
    before = rows(stopped.path)
    assert rows(continued)[: len(before)] == before
    assert [row["step"] for row in rows(continued)[len(before) :]][-1] == 60
    assert json.loads((continued / "checkpoints" / "step-00000060" / "manifest.json").read_text())["attempt"] == 2


def test_the_changed_job_is_written_and_the_old_one_kept(stopped: Case, continued: Path) -> None:
    assert (continued / "job-1.yaml").read_text() == (stopped.path / "job.yaml").read_text()
    text = (continued / "job.yaml").read_text()
    assert "nodes: 2" in text
    assert "every: 7 steps" in text
    assert "MORE" in text


def test_a_finished_run_says_so_and_is_0(stopped: Case, continued: Path) -> None:
    before = (continued / "events.jsonl").read_text()
    outcome = stopped.desk.launch("resume", str(continued))
    assert outcome.code == 0
    assert "done" in outcome.said or "finished" in outcome.said
    assert (continued / "events.jsonl").read_text() == before


def test_a_finished_run_may_grow_and_a_second_change_keeps_job_2(stopped: Case, continued: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(continued, tmp_path / "run"))
    outcome = stopped.desk.launch("resume", str(run), "--set", "train.max_steps=63")
    assert outcome.code == 0, outcome.said
    assert (run / "job-2.yaml").read_text() == (continued / "job.yaml").read_text()
    assert (run / "job-1.yaml").read_text() == (stopped.path / "job.yaml").read_text()
    assert rows(run)[-1]["step"] == 63
    assert checkpoints(run)[-1] == "step-00000063"


def test_a_run_that_grew_equals_one_that_was_as_long_from_the_start(alone: Case, undisturbed: Case, tmp_path: Path) -> None:
    run = Path(shutil.copytree(alone.path, tmp_path / "run"))
    outcome = alone.desk.launch("resume", str(run), "--set", "train.max_steps=60")
    assert outcome.code == 0, outcome.said
    assert weights(run) == weights(undisturbed.path)
    assert rows(run) == rows(undisturbed.path)


def test_threads_are_resolved_once_and_kept_on_another_number_of_nodes(desk: Desk) -> None:
    job = script_job(resources={"device": "cpu"}, run={"program": ["sh", "-c", "exit $0"], "args": ["1"]})
    assert desk.launch(desk.job(job)).code == 1
    (threads,) = re.findall(r"threads: \d+", (desk.run() / "job.yaml").read_text())
    outcome = desk.launch("resume", "last", "--nodes", "2", "--set", "run.args=['0']")
    assert outcome.code == 0, outcome.said
    text = (desk.run() / "job.yaml").read_text()
    assert f"{threads}\n" in text
    assert "nodes: 2\n" in text


REFUSED = {
    "seed=8": ("7", "8"),
    "name=other": ("job", "other"),
    "train.optimizer.lr=0.2": ("0.1", "0.2"),
    "train.data.batch_size=20": ("10", "20"),
    "train.max_steps=30": ("60", "30"),
    "train.clip_grad_norm=1.0": ("train.clip_grad_norm", "1.0"),
}


@pytest.mark.parametrize("change", REFUSED)
def test_what_changes_the_mathematics_is_shown_as_a_diff_and_refused(stopped: Case, there: Path, change: str) -> None:
    before = contents(there)
    outcome = stopped.desk.launch("resume", str(there), "--set", change)
    assert (outcome.code, outcome.out) == (2, "")
    assert change.split("=")[0] in outcome.err
    assert all(word in outcome.err for word in REFUSED[change])
    assert contents(there) == before


def contents(run: Path) -> dict[Path, bytes]:
    """Of every file but the note of who held the run last."""
    return {each: each.read_bytes() for each in run.rglob("*") if each.is_file() and each.name != ".supervisor"}


def test_max_steps_may_not_grow_where_the_schedule_depends_on_it(desk: Desk) -> None:
    job = small(train__schedule={"target": "cosine"}, train__max_steps=2)
    assert desk.launch(desk.job(job)).code == 0
    outcome = desk.launch("resume", "last", "--set", "train.max_steps=4")
    assert outcome.code == 2
    assert "schedule" in outcome.err


def test_args_of_a_script_may_change_and_the_script_may_not(desk: Desk) -> None:
    desk.write("own.py", "import sys\nprint('args', sys.argv[1:], flush=True)\nsys.exit(sys.argv[1] != 'good')\n")
    assert desk.launch(desk.job(script_job(run={"script": "own.py", "args": ["bad"]}))).code == 1
    refused = desk.launch("resume", "last", "--set", "run.script=other.py")
    assert refused.code == 2
    assert "other.py" in refused.err
    outcome = desk.launch("resume", "last", "--set", "run.args=[good, 'two words']")
    assert outcome.code == 0, outcome.said
    assert "args ['good', 'two words']" in outcome.said
    assert desk.status()["state"] == "done"


def test_a_live_run_is_refused_naming_the_holder(desk: Desk) -> None:
    desk.write("own.py", "import time\nprint('at work', flush=True)\ntime.sleep(600)\n")
    process = desk.start(LAUNCH, desk.job(script_job()))
    until(lambda: "at work" in desk.screen())
    outcome = desk.launch("resume", "last")
    assert outcome.code == 2
    assert str(process.pid) in outcome.err
    assert desk.launch("cancel", "last", "--wait").code == 0
    assert process.wait(PATIENCE_S) == 130


@pytest.mark.long
def test_the_restart_budget_starts_anew(desk: Desk) -> None:
    desk.write("own.py", "import launcher, os\nlauncher.pulse()\nos._exit(5)\n")
    assert desk.launch(desk.job(script_job(retry={"max_restarts": 1}))).code == 1
    assert desk.status()["attempts"] == 2
    assert desk.launch("resume", "last").code == 1
    assert desk.status()["attempts"] == 4


def test_a_run_whose_supervisor_was_killed_is_continued(desk: Desk, undisturbed: Case) -> None:
    desk.write("slow", "")
    process = desk.start(LAUNCH, str(undisturbed.desk.folder / "job.yaml"), "--set", "checkpoint.every=2 steps")
    until(lambda: desk.runs() and checkpoints(desk.run()))
    process.kill()
    process.wait()
    (desk.folder / "slow").unlink()
    outcome = until(lambda: (tried := desk.launch("resume", "last")).code != 2 and tried)
    assert outcome.code == 0, outcome.said
    assert weights(desk.run()) == weights(undisturbed.path)
    assert (desk.run() / "metrics.jsonl").read_bytes() == (undisturbed.path / "metrics.jsonl").read_bytes()


def test_a_damaged_newest_checkpoint_is_told_and_passed_over(undisturbed: Case, tmp_path: Path) -> None:
    run = Path(shutil.copytree(undisturbed.path, tmp_path / "run"))
    file = run / "checkpoints" / "step-00000060" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    outcome = undisturbed.desk.launch("resume", str(run), "--set", "train.max_steps=62")
    assert outcome.code == 0, outcome.said
    assert "step-00000060" in outcome.said
    assert rows(run)[:60] == rows(undisturbed.path)
