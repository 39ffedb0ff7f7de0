"""From launch on a login node to a run that is done, and all that is asked of it while it waits."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.slurm.project import Project

HELD = "resources.slurm.extra=[--hold]"


def test_pending_run_is_seen_from_anywhere_and_runs_the_code_as_it_was(project: Project, tmp_path: Path) -> None:
    run = project.submit(project.job("backend: slurm, nodes: 2"), "--set", HELD)
    now = json.loads(project.launch("status", str(run), "--json", cwd=tmp_path).stdout)
    assert (now["state"], now["reason"]) == ("queued", f"job {now['job']} waits: JobHeldUser")
    assert project.queue() == [now["job"]]
    assert f"{run.name}  queued" in project.launch("list", "--runs", str(run.parent), cwd=tmp_path).stdout
    refused = project.launch("resume", str(run))
    assert refused.returncode == 2
    assert f"job {now['job']}" in refused.stderr
    project.program("two")
    project.cluster.run("scontrol", "release", now["job"])
    assert project.wait(run, "done")["attempts"] == 1
    first, second = (project.wrote(run, rank) for rank in (0, 1))
    assert [(each["word"], each["world"], each["cwd"]) for each in (first, second)] == [("one", "2", str(run / "code"))] * 2
    assert project.launch("logs", str(run), "--ranks", "1").stdout == "the word is one\n"
    project.wait_for_empty_queue()


def test_what_waits_is_taken_out_of_the_queue_and_resumed(project: Project) -> None:
    job = project.job()
    stopped, cancelled, lost = (project.submit(job, "--set", HELD) for _ in range(3))
    assert "taken out of the queue" in project.launch("stop", str(stopped)).stdout
    project.launch("cancel", str(cancelled))
    project.cluster.run("scancel", project.status(lost)["job"])
    assert [project.status(run)["state"] for run in (stopped, cancelled, lost)] == ["stopped", "cancelled", "stopped"]
    assert "ended as CANCELLED" in project.status(lost)["reason"]
    assert not project.queue()
    project.program("two")
    again = project.launch("resume", str(lost), "--set", "resources.slurm.extra=[]", "--follow")
    assert again.returncode == 0, again.stderr
    assert project.wrote(lost)["word"] == "two"


@pytest.mark.parametrize(
    ("resources", "more", "code", "says"),
    [
        ("nodes: 9", "", 3, "asks for 9 nodes, and it would wait for ever: main (4 nodes"),
        ("time: 6m, slurm: {partition: short}", "", 3, "short (4 nodes, at most 00:05:00)"),
        ("slurm: {partition: shrt}", "", 3, "Did you mean 'short'?"),
        ("slurm: {mem: 900G}", "", 3, "Slurm refuses the job: allocation failure: "),
        ("slurm: {extra: [--nonsense]}", "", 3, "unrecognized option '--nonsense'"),
        ("slurm: {profile: generc}", "", 2, "Did you mean 'generic'?"),
        ("nodes: 1", "environment: {python: /nowhere/python}", 3, "environment.python: /nowhere/python: no such file"),
        ("nodes: 1", "workdir: /nowhere", 2, "workdir: there is no folder /nowhere"),
    ],
)
def test_what_cannot_run_is_said_before_anything_is_written(
    project: Project, resources: str, more: str, code: int, says: str
) -> None:
    done = project.launch(project.job(f"backend: slurm, {resources}", more=more))
    assert (done.returncode, says in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr
    assert not project.queue()
    assert not (project.folder / "runs").exists()


@pytest.mark.long
def test_without_a_controller(project: Project) -> None:
    waits = project.submit(project.job(), "--set", HELD)
    project.cluster.stop_controller()
    try:
        refused = project.launch("job.yaml")
        now = project.status(waits)
        listed = project.launch("list")
    finally:
        project.cluster.start_controller()
    assert (refused.returncode, "controller does not answer" in refused.stderr) == (3, True)
    assert now["state"] == "queued"
    assert "controller does not answer" in now["reason"]
    assert listed.returncode == 0
    assert "waits: JobHeldUser" in project.status(waits)["reason"]


def test_without_slurm(project: Project) -> None:
    done = project.launch(project.job(), PATH=str(Path(project.env["PATH"].split(":")[1])))
    assert (done.returncode, "this machine is no part of a Slurm cluster" in done.stderr) == (3, True)


def test_by_hand_with_sbatch_and_in_an_allocation(project: Project, tmp_path: Path) -> None:
    job = project.job("backend: auto", more="environment: {setup: ['export own_word=hi', 'echo this is no message']}\n")
    script = Path(__file__).parents[2] / "slurm" / "train.sbatch"
    by_sbatch = project.call("sbatch", "--wait", "--nodes", "2", f"--output={tmp_path}/said", str(script), job)
    assert by_sbatch.returncode == 0, (tmp_path / "said").read_text()
    [run] = (project.folder / "runs").iterdir()
    in_salloc = project.call("salloc", "--nodes=3", "--quiet", "launch", job, "--nodes", "2")
    assert in_salloc.returncode == 0, in_salloc.stderr
    [other] = {*(project.folder / "runs").iterdir()} - {run}
    for each in (run, other):
        assert project.wrote(each, 1)["world"] == "2"
        assert project.wrote(each)["env"]["own_word"] == "hi"
        assert project.status(each)["state"] == "done"
    project.wait_for_empty_queue()


def test_dry_run_shows_the_script_and_the_pasted_line_of_prepare_submits_it(project: Project) -> None:
    shown = project.launch(project.job("backend: slurm, time: 5m"), "--dry-run").stdout
    prepared = json.loads(project.launch("job.yaml", "--prepare", "--json").stdout)
    run = Path(prepared["path"])
    script = {line for line in (run / "job.sbatch").read_text().splitlines() if run.name not in line}
    assert script <= {line.removeprefix("script").strip() for line in shown.splitlines()}
    assert "-m launcher supervise {run_dir}" in shown
    assert project.status(run)["state"] == "stopped"
    project.call(*shlex.split(prepared["commands"]["sbatch"]))
    project.wait(run, "done")


STANDS_IN = {
    "apptainer": 'while [ "$1" != /c/torch.sif ]; do shift; done; shift; exec "$@"',
    "srun": 'for word; do shift; case "$word" in --container-*) ;; *) set -- "$@" "$word";; esac; done; exec /usr/bin/srun "$@"',
}


@pytest.mark.parametrize(
    ("runtime", "command", "given"),
    [
        ("apptainer", "apptainer", "exec --nv --bind={workdir}:{workdir} --bind={run}:{run} /c/torch.sif"),
        ("pyxis", "srun", "--container-image=/c/torch.sif --container-mounts={workdir}:{workdir},{run}:{run}"),
    ],
)
def test_container_runs_the_agents(project: Project, tmp_path: Path, runtime: str, command: str, given: str) -> None:
    """With an executable that stands in for what is not installed, and records its arguments."""
    stand_in = tmp_path / "bin" / command
    stand_in.parent.mkdir()
    stand_in.write_text(f'#!/bin/bash\necho "$*" >> {tmp_path}/said\n{STANDS_IN[command]}\n')
    stand_in.chmod(0o755)
    container = f"environment: {{container: /c/torch.sif, runtime: {runtime}, python: {sys.executable}}}\n"
    more = f"{container[:-2]}, setup: ['export PATH={stand_in.parent}:$PATH']}}\n"
    run = project.submit(project.job(more=more))
    project.wait(run, "done")
    assert given.format(workdir=project.folder, run=run) in (tmp_path / "said").read_text()


def test_python_face_submits_and_waits(project: Project) -> None:
    code = f"import launcher; run = launcher.submit('{project.job()}', backend='slurm'); print(run.wait().state)"
    done = project.call(sys.executable, "-c", code)
    assert done.stdout == "done\n", done.stderr


def test_leaving_a_followed_run_leaves_its_job(project: Project) -> None:
    command = ["launch", project.job(), "--set", HELD, "--follow"]
    with subprocess.Popen(command, cwd=project.folder, env=project.env, stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        said = [follower.stdout.readline(), follower.stdout.readline()]
        os.kill(follower.pid, signal.SIGINT)
        rest = follower.stdout.read()
    assert "waits: JobHeldUser" in said[1]
    assert f"job {project.queue()[0]} goes on without you" in rest
    assert follower.returncode == 0


def test_run_after_another_begins_when_that_is_done_and_not_when_it_failed(project: Project) -> None:
    job = project.job(retry="max_restarts: 0")
    first = project.submit(job, "--set", HELD)
    second = project.submit(job, "--after", first.name)
    assert "Dependency" in project.status(second)["reason"]
    project.program("broken", then="sys.exit(1)\n")
    third = project.submit(job, "--set", HELD)
    fourth = project.submit(job, "--after", str(third))
    for run in (first, third):
        project.cluster.run("scontrol", "release", project.status(run)["job"])
    project.wait(second, "done")
    now = project.wait(fourth, "stopped")
    assert f"run {third.name}, which it was to follow, is failed" in now["reason"]
    assert not (fourth / "rank-0.json").exists()
