"""The batch script as text: whole scripts under tests/golden/slurm, rewritten by GOLDEN=write alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.backends import slurm
from launcher.backends.slurm import allocation
from launcher.backends.slurm.script import minutes
from launcher.load import parse_job
from launcher.plan import Plan, make_plan
from launcher.rundir import RunDir
from launcher.spec import Job

GOLDEN = Path(__file__).parents[1] / "golden" / "slurm"
RUN = "run: {program: [./train]}\n"
OWN = "/home/me/project:/home/me/project,{run_dir}:{run_dir}"
SPECS = {
    "plain": "resources: {nodes: 2}",
    "every-option": "resources: {nodes: 2, time: 1d12h, slurm: {partition: gpu, account: a-1, qos: high, gpus_per_node: 4, "
    "cpus_per_proc: 8, mem: 64G, constraint: 'a100&nvlink', nodelist: 'n[1-4]', exclude: n9, reservation: lunch, "
    "mail_user: me@example.org}}",
    "gpus-by-gres": "resources: {slurm: {gpus_per_node: 4, gpu_option: gres, cpus_per_proc: 2}}",
    "extra-verbatim": "resources: {slurm: {extra: ['--licenses=foo:2', '--comment=\"two words\" --wckey=x']}}",
    "spares": "resources: {nodes: 4, spares: 1}",
    "a-range-of-nodes": "resources: {nodes: {min: 2, max: 4}, spares: 1}",
    "setup-lines": "environment: {setup: ['module purge', 'source \"$HOME/my env/bin/activate\"', 'ulimit -c 0'], python: py3}",
    "pyxis": "environment: {container: 'nvcr.io/nvidia/pytorch:26.10-py3', mounts: [/scratch, '/data:/mnt/data']}",
    "apptainer": "environment: {container: /c/torch.sif, runtime: apptainer, python: /usr/bin/python3}",
    "ranks-and-cores": "resources: {procs_per_node: 4, slurm: {cpus_per_proc: 3}}",
    "an-hour-and-a-second": "resources: {time: 3601s}",
    "interface": "environment: {interface: ib0}\nresources: {snapshot: false}",
}


@pytest.fixture(autouse=True)
def on_a_login_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/opt/venv/bin/python")


def planned(text: str, workdir: str = "/home/me/project") -> tuple[Job, Plan]:
    job = parse_job(RUN + text + "\n", "my-job.yaml", workdir=workdir)
    return job, make_plan(job, slurm.cluster(job))


def script(text: str, run: str = "/home/me/project/runs/r1", workdir: str = "/home/me/project") -> str:
    job, plan = planned(text, workdir)
    return slurm.script(job, plan, RunDir(run))


@pytest.mark.parametrize("name", SPECS)
def test_whole_script(name: str) -> None:
    same_as_golden(GOLDEN / f"{name}.sbatch", script(SPECS[name]))


def test_whole_script_with_nasty_paths() -> None:
    nasty = "a b\"c$(touch x)'%j\\é"
    same_as_golden(GOLDEN / "nasty-paths.sbatch", script("", run=f"/r/{nasty}/r1", workdir=f"/w/{nasty}"))


SWEEP = """
train:
  model: {target: mlp, in_features: 64, out_features: 10}
  loss: cross_entropy
  optimizer: {target: sgd, lr: 0.1}
  data: {train: {target: digits, split: train, flatten: true}, val: {target: digits, split: val, flatten: true}, batch_size: 128}
  epochs: 1
sweep: {metric: val/loss, goal: minimize, trials: 40, parameters: {train.optimizer.lr: {min: 0.01, max: 1}}, parallel: PARALLEL}
"""


@pytest.mark.parametrize(("parallel", "array"), [("3", "1-12%3"), ("auto", "1-80%20")])
def test_whole_script_of_a_sweep(parallel: str, array: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocation, "at_a_time", lambda _: 20)
    job = parse_job(SWEEP.replace("PARALLEL", parallel), "my-job.yaml", workdir="/home/me/project")
    text = slurm.script(job, make_plan(job, slurm.cluster(job)), RunDir("/home/me/project/runs/r1"))
    same_as_golden(GOLDEN / "sweep.sbatch", text.replace(f"--array={array}", "--array=1-12%3"))


def same_as_golden(path: Path, text: str) -> None:
    if os.environ.get("GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing() -> None:
    mine = [*GOLDEN.glob("*.sbatch"), Path(__file__).parents[2] / "slurm" / "train.sbatch"]
    # A `source` of a file that is not here is no fault, nor is a path with a $ in it.
    done = subprocess.run(["shellcheck", "--exclude=SC1090,SC1091,SC2016", *mine], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("text", "carrier", "agent"),
    [
        (
            SPECS["pyxis"],
            ["--container-image=nvcr.io/nvidia/pytorch:26.10-py3", f"--container-mounts={OWN},/scratch:/scratch,/data:/mnt/data"],
            ("python3", "-P"),
        ),
        (
            SPECS["apptainer"],
            [],
            ("apptainer", "exec", "--nv", *(f"--bind={each}" for each in OWN.split(",")), "/c/torch.sif", "/usr/bin/python3"),
        ),
        ("", [], ("/opt/venv/bin/python", "-P")),
    ],
)
def test_container_stands_around_the_agent_and_not_around_the_supervisor(
    text: str, carrier: list[str], agent: tuple[str, ...]
) -> None:
    _, plan = planned(text)
    assert [word for word in plan.carrier if word.startswith("--container")] == carrier
    assert plan.nodes[0].argv[: len(agent)] == agent
    assert plan.supervisor[0] == "/opt/venv/bin/python"
    filled = plan.filled(RunDir("/r/1"))
    assert not any("{run_dir}" in word for word in [*filled.carrier, *filled.nodes[0].argv])


def test_interface_is_in_the_ranks_environment_unless_the_job_says_otherwise() -> None:
    _, plan = planned("environment: {interface: ib0}\nenv: {GLOO_SOCKET_IFNAME: eth1}")
    assert plan.env["NCCL_SOCKET_IFNAME"] == "ib0"
    assert plan.env["GLOO_SOCKET_IFNAME"] == "eth1"


def test_run_executes_in_the_copy_unless_there_is_none() -> None:
    assert planned("")[1].entry.cwd == "{run_dir}/code"
    assert planned("resources: {snapshot: false}")[1].entry.cwd == "/home/me/project"


@pytest.mark.parametrize(("seconds", "shown"), [(1, "00:01:00"), (60, "00:01:00"), (61, "00:02:00"), (90_000, "25:00:00")])
def test_slurm_counts_whole_minutes(seconds: float, shown: str) -> None:
    assert minutes(seconds) == shown
