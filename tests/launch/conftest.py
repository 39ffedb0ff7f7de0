from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from launcher.cli import main
from launcher.errors import Problem, SpecError
from launcher.load import dump_job, parse_job
from launcher.plan import Cluster, Machine, make_plan, settle
from launcher.rundir import RunDir, write_json

TRAIN = """
train:
  model: {target: mlp, in_features: 64, out_features: 10}
  loss: cross_entropy
  optimizer: {target: sgd, lr: 0.1}
  data:
    train: {target: digits, flatten: true}
    val: {target: digits, split: val, flatten: true}
    batch_size: 128
  metrics: [accuracy]
  epochs: 2
"""


@pytest.fixture
def train() -> str:
    """A job that trains, as text to add to."""
    return TRAIN


@pytest.fixture
def problems() -> Callable[..., list[Problem]]:
    """What is wrong with a job's text, which must be something."""

    def found(text: str, **given: Any) -> list[Problem]:
        with pytest.raises(SpecError) as refused:
            parse_job(text, "job.yaml", **given)
        return refused.value.problems

    return found


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Launch = Callable[..., Said]
ByHand = Callable[..., RunDir]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which `launch` is called."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "train.py").touch()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def launch(project: Path, capsys: pytest.CaptureFixture[str]) -> Launch:
    """`launch WORDS` in this process."""

    def call(*words: object) -> Said:
        capsys.readouterr()
        code = main([str(word) for word in words])
        return Said(code, *capsys.readouterr())

    return call


@pytest.fixture
def by_hand(project: Path) -> ByHand:
    """A run directory with the ledger, rows and logs that a test wants; nothing ever ran in it."""

    def make(
        run_id: str = "20260101-000000-j-aaaa",
        *,
        job: str = TRAIN,
        nodes: int = 1,
        procs: int = 2,
        ledger: Sequence[Mapping[str, Any]] = (),
        rows: Sequence[Mapping[str, Any]] = (),
        logs: Mapping[int, str] | None = None,
    ) -> RunDir:
        run = RunDir(project / "runs" / run_id)
        run.path.mkdir(parents=True)
        text = f"name: j\nresources: {{nodes: {nodes}, procs_per_node: {procs}, threads: 1}}\n{job}"
        parsed = parse_job(text, workdir=str(project))
        machines = tuple(Machine(host="here", address="127.0.0.1", cpus=(0, 1)) for _ in range(nodes))
        plan = make_plan(parsed, Cluster(backend="local", machines=machines, python="python3"))
        run.job.write_text(dump_job(settle(parsed, plan)))
        write_json(run.plan, plan.to_json())
        run.events.write_text("".join(json.dumps({"attempt": None, **entry}) + "\n" for entry in ledger))
        if rows:
            run.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
        for rank, text in (logs or {}).items():
            run.attempt(1).mkdir(parents=True, exist_ok=True)
            run.rank_log(1, rank).write_text(text)
        return run

    return make


def at(seconds: int, event: str, **details: Any) -> dict[str, Any]:
    """An entry of a ledger, so many seconds after its beginning."""
    return {"time": f"2026-01-01T00:{seconds // 60:02}:{seconds % 60:02}.000+00:00", "event": event, **details}


@pytest.fixture
def done() -> list[dict[str, Any]]:
    """The ledger of a training that took 100 seconds and restarted once."""
    return [
        at(0, "prepared", backend="local"),
        at(0, "supervising", backend="local", pid=1),
        at(0, "attempt", attempt=1),
        at(10, "running", attempt=1, step=1),
        at(30, "checkpoint", attempt=1, step=12),
        at(50, "failure", attempt=1, step=20, rank=1, reason="rank 1 was killed by SIGKILL. restart 1 of 3"),
        at(50, "attempt", attempt=2),
        at(50, "running", attempt=2, step=13),
        at(90, "checkpoint", attempt=2, step=24),
        at(100, "done", attempt=2, exit_code=0),
    ]
