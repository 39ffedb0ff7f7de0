"""CONTRACTS.md, "Where things run": ranks are ordinary, and what --dry-run, --prepare and --detach do."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.contracts.conftest import ACCELERATE, FINISHED, TORCHRUN, Case, Desk, rows, small, weights


def prepare(desk: Desk, job: str) -> tuple[Path, dict[str, str]]:
    told = desk.launch(job, "--prepare", "--json").json
    return Path(told["path"]), told["commands"]


WAYS = {
    "python": [
        sys.executable,
        "-m",
        "launcher.worker",
    ],
    "python, train named": [sys.executable, "-m", "launcher.worker", "train"],
    "accelerate": [
        ACCELERATE,
        "launch",
        "--cpu",
        "--num_processes",
        "1",
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
        "-m",
        "launcher.worker",
    ],
}


@pytest.mark.parametrize("way", ["python", *(pytest.param(way, marks=pytest.mark.long) for way in WAYS if way != "python")])
def test_one_rank_has_the_same_weights_and_history_however_it_is_started(
    desk: Desk, alone: Case, way: str, tmp_path: Path
) -> None:
    run, _ = prepare(desk, desk.job(small()))
    outcome = desk.call(*WAYS[way], str(run), cwd=tmp_path, env={"OMP_NUM_THREADS": "1"})
    assert outcome.code == 0, outcome.said
    assert weights(run) == weights(alone.path)
    assert (run / "metrics.jsonl").read_bytes() == (alone.path / "metrics.jsonl").read_bytes()


def test_torchrun_has_the_same_weights_and_history_on_two_ranks(desk: Desk, finished: Case) -> None:
    run, _ = prepare(desk, desk.job(FINISHED, "digits"))
    outcome = desk.call(
        TORCHRUN, "--standalone", "--nproc-per-node=2", "-m", "launcher.worker", str(run), env={"OMP_NUM_THREADS": "1"}
    )
    assert outcome.code == 0, outcome.said
    assert weights(run) == weights(finished.path)
    assert (run / "metrics.jsonl").read_bytes() == (finished.path / "metrics.jsonl").read_bytes()


def test_the_other_engine_has_the_same_weights_and_history(desk: Desk, alone: Case) -> None:
    outcome = desk.launch(desk.job(small()), "--set", "resources.agent=torchrun")
    assert outcome.code == 0, outcome.said
    assert weights(desk.run()) == weights(alone.path)
    assert (desk.run() / "metrics.jsonl").read_bytes() == (alone.path / "metrics.jsonl").read_bytes()
    assert desk.status()["state"] == "done"


def test_eval_is_a_verb_of_the_worker_too(alone: Case) -> None:
    outcome = alone.desk.call(sys.executable, "-m", "launcher.worker", "eval", str(alone.path), "--split", "train")
    assert outcome.code == 0, outcome.said
    assert "train/loss" in outcome.said


def test_the_torchrun_line_that_prepare_prints_works_when_pasted_anywhere(desk: Desk, alone: Case) -> None:
    run, commands = prepare(desk, desk.job(small()))
    assert sorted(each.name for each in run.iterdir() if not each.name.startswith(".")) >= [
        "events.jsonl",
        "job.yaml",
        "plan.json",
    ]
    assert not any((run / name).exists() for name in ("metrics.jsonl", "checkpoints", "logs"))
    outcome = desk.call("/bin/bash", "-c", commands["torchrun"], cwd=Path("/"))
    assert outcome.code == 0, outcome.said
    assert weights(run) == weights(alone.path)
    assert desk.status(run)["state"] == "done"


def test_dry_run_prints_the_plan_and_starts_and_writes_nothing(desk: Desk) -> None:
    job = desk.job(small(resources__procs_per_node=2, train__data__micro_batch_size=5))
    outcome = desk.launch(job, "--dry-run")
    assert outcome.code == 0
    assert all(
        word in outcome.out for word in ("launcher.agent", "supervise", "torch.distributed.run", "accumulation 1", "12 steps")
    )
    assert desk.runs() == []


def test_dry_run_as_json_is_what_prepare_writes(desk: Desk) -> None:
    job = desk.job(small())
    dry = desk.launch(job, "--dry-run", "--json").json
    run, _ = prepare(desk, job)
    assert dry == json.loads((run / "plan.json").read_text())


def test_run_is_what_launch_of_a_spec_is_short_for(desk: Desk) -> None:
    job = desk.job(small())
    assert desk.launch("run", job, "--dry-run").out == desk.launch(job, "--dry-run").out


def test_flags_are_short_for_set(desk: Desk) -> None:
    job = desk.job(small())
    flags = desk.launch(job, "--dry-run", "--json", "--nodes", "2", "--backend", "local")
    settings = desk.launch(job, "--dry-run", "--json", "--set", "resources.nodes=2", "--set", "resources.backend=local")
    assert flags.json["world"] == settings.json["world"]
    assert flags.json["world"]["world_size"] == 2


def test_a_stopped_run_is_continued_by_plain_python(stopped: Case, undisturbed: Case, tmp_path: Path) -> None:
    run = Path(shutil.copytree(stopped.path, tmp_path / "run"))
    outcome = stopped.desk.call(sys.executable, "-m", "launcher.worker", str(run), env={"OMP_NUM_THREADS": "1"})
    assert outcome.code == 0, outcome.said
    assert weights(run) == weights(undisturbed.path)
    assert rows(run) == rows(undisturbed.path)
