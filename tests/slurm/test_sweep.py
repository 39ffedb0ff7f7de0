"""A sweep as an array on a real cluster: each task takes the next trial until none is left."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.slurm.project import Project

JOB = """
name: small
seed: 3
resources: {procs_per_node: 1, threads: 1, device: cpu, backend: slurm, slurm: {cpus_per_proc: 4}}
train:
  model: {target: mlp, in_features: 64, hidden: [8], out_features: 10}
  loss: cross_entropy
  optimizer: {target: sgd, lr: 0.1, momentum: 0.9}
  data:
    train: {target: digits, split: train, flatten: true}
    val: {target: digits, split: val, flatten: true}
    batch_size: 128
  epochs: 2
log: {plots: false}
sweep:
  metric: val/loss
  goal: minimize
  parallel: 3
"""
LR = "parameters: {train.optimizer.lr: {min: 0.01, max: 1, log: true}}"
METHODS = {
    "grid": "method: grid\n  parameters: {train.optimizer.lr: [0.1, 0.3], train.optimizer.momentum: [0.0, 0.9]}",
    "random": f"method: random\n  trials: 5\n  {LR}",
    "tpe": f"method: tpe\n  trials: 12\n  {LR}",
    "gp": f"method: gp\n  trials: 12\n  {LR}",
    "cma": f"method: cma\n  trials: 6\n  {LR}",
    "folds": f"method: random\n  folds: 3\n  trials: 2\n  {LR}",
    "folds alone": "folds: 4",
}
IN_THE_SUITE = ("random",)
OTHERS = [pytest.param(name, marks=pytest.mark.long) for name in METHODS if name not in IN_THE_SUITE]


def sweep(project: Project, lines: str, *argv: str) -> Path:
    (project.folder / "sweep.yaml").write_text(f"{JOB}  {lines}\n")
    return project.submit("sweep.yaml", *argv)


def results(run: Path) -> list[dict[str, Any]]:
    with (run / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def events(run: Path, name: str) -> list[dict[str, Any]]:
    entries = map(json.loads, (run / "events.jsonl").read_text().splitlines())
    return [entry for entry in entries if entry["event"] == name]


def by_one(project: Project, *argv: str) -> list[dict[str, Any]]:
    """The same by one process, in an allocation with room for three trials."""
    done = project.call("salloc", "--nodes=3", "--cpus-per-task=4", "--quiet", "launch", "sweep.yaml", "--json", *argv)
    assert done.returncode == 0, done.stderr
    return results(Path(json.loads(done.stdout)["path"]))


def begun(run: Path, trials: int = 3) -> None:
    """So many are at work, and have a checkpoint to go on from."""
    until = time.monotonic() + 120
    while len(list(run.glob("trials/*/checkpoints/step-*/manifest.json"))) < trials:
        assert time.monotonic() < until
        time.sleep(0.1)


def nothing_left(project: Project, run: Path) -> None:
    until = time.monotonic() + 30
    while project.queue():
        assert time.monotonic() < until, project.queue()
        time.sleep(0.2)
    assert [path.name for path in run.iterdir() if path.name.startswith(".")] == [".supervisor"]


@pytest.mark.parametrize("method", [*IN_THE_SUITE, *OTHERS])
def test_an_array_gives_the_results_of_one_process(project: Project, method: str) -> None:
    run = sweep(project, METHODS[method])
    project.wait(run, "done")
    assert results(run) == by_one(project)
    assert len(events(run, "joined")) == len(events(run, "left")) >= 3
    nothing_left(project, run)


@pytest.mark.long
@pytest.mark.parametrize("method", ["median", "asha", "hyperband"])
def test_trials_are_compared_across_tasks_and_pruned(project: Project, method: str) -> None:
    lines = f"method: random\n  trials: 9\n  prune: {{method: {method}, warmup_steps: 24}}\n  {LR}"
    run = sweep(project, lines, "--set", "train.epochs=12")
    project.wait(run, "done")
    states = [row["state"] for row in results(run)]
    assert set(states) == {"done", "pruned"}
    nothing_left(project, run)


LONGER = ("--set", "train.epochs=40", "--set", "checkpoint.every=1 epoch")


@pytest.mark.long
def test_a_dead_node_gives_its_trial_back(project: Project) -> None:
    run = sweep(project, METHODS["random"], *LONGER)
    begun(run)
    project.cluster.crash("n2")
    project.wait(run, "done")
    project.cluster.boot_crashed()
    assert [row["state"] for row in results(run)] == ["done"] * 5
    nothing_left(project, run)


@pytest.mark.long
def test_a_killed_task_gives_its_trial_back(project: Project) -> None:
    run = sweep(project, METHODS["tpe"])
    begun(run)
    array = project.status(run)["job"]
    for task in (1, 2):
        project.cluster.run("scancel", "--signal=KILL", "--full", f"{array}_{task}")
    project.wait(run, "done")
    assert results(run) == by_one(project)
    nothing_left(project, run)


@pytest.mark.long
def test_stopped_and_resumed(project: Project) -> None:
    run = sweep(project, METHODS["random"], *LONGER)
    begun(run)
    assert project.launch("resume", str(run)).returncode == 2
    assert project.launch("stop", str(run), "--wait").returncode == 0
    assert project.status(run)["state"] == "stopped"
    nothing_left(project, run)
    again = project.launch("resume", str(run), "--follow")
    assert again.returncode == 0, again.stderr
    assert [row["state"] for row in results(run)] == ["done"] * 5
    assert max(entry["attempt"] for trial in run.glob("trials/*") for entry in events(trial, "attempt")) == 2
    nothing_left(project, run)


@pytest.mark.long
def test_cancelled(project: Project) -> None:
    run = sweep(project, METHODS["random"], *LONGER)
    begun(run)
    assert project.launch("cancel", str(run), "--wait").returncode == 0
    assert project.status(run)["state"] == "cancelled"
    nothing_left(project, run)


ENDLESS = ("--set", "train.epochs=1500", "--set", "checkpoint.every=10 epochs")


@pytest.mark.long
def test_at_the_time_limit_the_next_tasks_go_on_and_the_next_array_after_the_last(project: Project) -> None:
    run = sweep(project, METHODS["random"], *ENDLESS, "--set", "resources.time=1m")
    project.wait(run, "done", timeout_s=280)
    assert [row["state"] for row in results(run)] == ["done"] * 5
    assert len({entry["job"] for entry in events(run, "joined")}) > 3
    attempts = [entry["attempt"] for trial in (run / "trials").iterdir() for entry in events(trial, "attempt")]
    assert max(attempts) > 1
    nothing_left(project, run)


@pytest.mark.long
def test_one_task_is_taken_out_of_the_queue_and_then_all_of_them(project: Project) -> None:
    run = sweep(project, METHODS["random"], *ENDLESS)
    begun(run)
    array = project.status(run)["job"]
    project.cluster.run("scancel", f"{array}_2")
    until = time.monotonic() + 60
    while len(events(run, "joined")) < 4:
        assert time.monotonic() < until
        time.sleep(0.2)
    assert project.status(run)["state"] == "running"
    project.cluster.run("scancel", array)
    now = project.wait(run, "stopped")
    assert now["reason"] == "somebody's scancel: continue with launch resume"
    nothing_left(project, run)


@pytest.mark.long
def test_in_an_allocation_its_trials_run_side_by_side(project: Project) -> None:
    (project.folder / "sweep.yaml").write_text(f"{JOB.replace('parallel: 3', 'parallel: auto')}  {METHODS['random']}\n")
    in_allocation = by_one(project)
    [run] = (project.folder / "runs").iterdir()
    assert [each["parallel"] for each in events(run, "searching")] == [3]
    agents = {
        node["host"] for number in range(3) for node in json.loads((run / f"trials/{number}/plan.json").read_text())["nodes"]
    }
    assert agents == {"n1", "n2", "n3"}
    here = project.launch("sweep.yaml", "--backend", "local", "--json")
    assert here.returncode == 0, here.stderr
    assert results(Path(json.loads(here.stdout)["path"])) == in_allocation
    assert not project.queue()


@pytest.mark.long
def test_behind_a_run_that_needs_a_further_job_it_is_queued_again(project: Project) -> None:
    first = project.submit(project.job(), "--set", "resources.slurm.extra=[--hold]")
    run = sweep(project, METHODS["grid"], "--after", first.name)
    array = project.status(run)["job"]
    project.cluster.run("scontrol", "update", f"JobId={array}", "Dependency=")  # as where the job has ended, and another goes on
    until = time.monotonic() + 60
    while (now := project.status(run))["job"] == array:
        assert time.monotonic() < until, now
        time.sleep(0.2)
    assert now["state"] == "queued"
    assert f"run {first.name}, which it follows, goes on in job {project.status(first)['job']}" in now["reason"]
    project.cluster.run("scontrol", "release", project.status(first)["job"])
    project.wait(run, "done")
    assert len(events(run, "searching")) == 1
    nothing_left(project, run)
