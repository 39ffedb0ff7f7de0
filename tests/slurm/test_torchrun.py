"""`resources.agent: torchrun` under Slurm: one stock torchrun on each node, the same stop, continuation and weights."""

from __future__ import annotations

import hashlib

import pytest

from launcher.checkpoints import MODEL, newest_whole
from launcher.rundir import RunDir
from tests.slurm.project import Project

TRAINING = """\
name: {name}
seed: 3
resources: {{backend: {backend}, nodes: 2, procs_per_node: 1, threads: 1, device: cpu, agent: {agent}}}
train:
  model: {{target: mlp, in_features: 64, hidden: [16], out_features: 10}}
  loss: cross_entropy
  optimizer: {{target: sgd, lr: 0.1}}
  data: {{train: {{target: digits, flatten: true}}, batch_size: 100}}
  max_steps: {steps}
checkpoint: {{every: 25 steps}}
log: {{plots: false}}
"""


def training(project: Project, name: str, *, steps: int, **where: str) -> str:
    (project.folder / f"{name}.yaml").write_text(TRAINING.format(name=name, steps=steps, **where))
    return f"{name}.yaml"


def weights(run: RunDir) -> tuple[int, str]:
    checkpoint, _ = newest_whole(run)
    assert checkpoint is not None
    return checkpoint.step, hashlib.sha256((checkpoint.path / MODEL).read_bytes()).hexdigest()


@pytest.mark.timeout(900)  # three trainings, where others train beside them
def test_stopped_and_continued(project: Project) -> None:
    alone = project.launch(training(project, "alone", steps=1000, backend="local", agent="launcher"))
    assert alone.returncode == 0, alone.stderr
    (local,) = (project.folder / "runs").glob("*-alone-*")
    run = project.submit(training(project, "apart", steps=1000, backend="slurm", agent="torchrun"))
    project.wait(run, "running")
    project.launch("stop", str(run), "--wait")
    assert project.wait(run, "stopped")["step"] < 1000
    resumed = project.launch("resume", str(run))
    assert resumed.returncode == 0, resumed.stderr
    project.wait(run, "done")
    assert weights(RunDir(run)) == weights(RunDir(local))
