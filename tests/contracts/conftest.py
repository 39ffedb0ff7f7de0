"""Black box: a folder that a person works in, the `launch` command, and the files that it leaves."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil
import pytest

from tests.patience import PATIENCE_S

LAUNCH = str(Path(sys.executable).with_name("launch"))
TORCHRUN = str(Path(sys.executable).with_name("torchrun"))
ACCELERATE = str(Path(sys.executable).with_name("accelerate"))
FOREIGN = (
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "OMP_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
    "WANDB_API_KEY",
)

Job = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Desk:
    """A folder with job files, a user's own code and runs; knows every process that was started from it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen[bytes]] = []

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LAUNCHER_") and name not in FOREIGN}
        return {**kept, "TESTED_FROM": str(self.folder), "WANDB_MODE": "offline", "NO_COLOR": "1"}

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def job(self, job: Job, name: str = "job") -> str:
        return str(self.write(f"{name}.yaml", json.dumps(job, ensure_ascii=False)))  # JSON is YAML

    def start(self, *argv: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        with (self.folder / ".screen").open("ab") as screen:
            return self.popen(list(argv), cwd=cwd, env=env, out=screen, err=screen)

    def popen(
        self, argv: list[str], *, cwd: Path | None, env: Mapping[str, str] | None, out: Any, err: Any
    ) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(argv, cwd=cwd or self.folder, env={**self.environment(), **(env or {})},
                                   stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True)  # fmt: skip
        self.started.append(process)
        return process

    def call(self, *argv: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Outcome:
        """Any command, waited for. Output goes to files: a process left behind holds no pipe open."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            code = self.popen(list(argv), cwd=cwd, env=env, out=out, err=err).wait(PATIENCE_S)
            return Outcome(code=code, out=written(out), err=written(err))

    def launch(self, *argv: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Outcome:
        return self.call(LAUNCH, *argv, cwd=cwd, env=env)

    def status(self, run: str | Path = "last") -> dict[str, Any]:
        found: dict[str, Any] = self.launch("status", str(run), "--json").json
        return found

    def runs(self) -> list[Path]:
        folder = self.folder / "runs"
        return sorted(each for each in folder.iterdir() if not each.name.startswith(".")) if folder.is_dir() else []

    def run(self) -> Path:
        """The only run."""
        (path,) = self.runs()
        return path

    def screen(self) -> str:
        return (self.folder / ".screen").read_text()

    def clear(self) -> None:
        """Ends what still runs: a run's processes are known by the environment that they were handed."""
        for process in psutil.process_iter():
            try:
                if process.environ().get("TESTED_FROM") == str(self.folder):
                    process.kill()
            except psutil.Error:
                continue
        for started in self.started:
            started.wait()


def written(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


def lines(path: Path) -> list[dict[str, Any]]:
    """Whole ones only: a writer may be in the middle of the last."""
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]] if path.exists() else []


def rows(run: Path) -> list[dict[str, Any]]:
    return lines(run / "metrics.jsonl")


def checkpoints(run: Path) -> list[str]:
    return sorted(each.name for each in (run / "checkpoints").glob("step-*"))


def weights(run: Path) -> str:
    """What the newest checkpoint's weights are, to the bit."""
    newest = run / "checkpoints" / checkpoints(run)[-1]
    return f"{newest.name} {hashlib.sha256((newest / 'model.safetensors').read_bytes()).hexdigest()}"


def complete_views(desk: Desk, run: Path, **environment: str) -> None:
    """Shows what they lack: rank 0 ends their child half a minute after its last step, on a busy machine too early at times."""
    logs = run.glob("logs/attempt-*/rank-0.log")
    if any("not every view of the metrics is complete" in log.read_text() for log in logs):
        subprocess.run([sys.executable, "-P", "-m", "launcher.worker.views", str(run)], input=f"finish {PATIENCE_S}\n", text=True,
                       cwd=desk.folder, env={**desk.environment(), **environment}, check=True)  # fmt: skip


def until(condition: Callable[[], Any], within_s: float = PATIENCE_S) -> Any:
    deadline = time.monotonic() + within_s
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return value


MINE = Path(__file__).with_name("mine.py").read_text()
HELD_UP = "60s"
"""`retry.lost_after` where attempts are counted: on a busy machine an agent may well hear nothing for the usual 8 s."""
SMALL: Job = {
    "seed": 7,
    "resources": {"procs_per_node": 1, "threads": 1, "device": "cpu"},
    "train": {
        "model": {"target": "mine:Net", "width": 8},
        "loss": "mine:loss",
        "optimizer": {"target": "sgd", "lr": 0.1, "momentum": 0.9},
        "data": {"train": {"target": "mine:Numbers", "samples": 50}, "batch_size": 10},
        "max_steps": 12,
    },
    "checkpoint": {"every": "5 steps"},
    "log": {"every": "1 steps", "plots": False},
    "retry": {"max_restarts": 0, "lost_after": HELD_UP},
}
"""Five steps an epoch, a checkpoint every five: a training of the user's own code in a second or two."""


def small(**changed: Any) -> Job:
    """SMALL with dotted paths changed (`__` for the dot); None takes a key away."""
    job: Job = json.loads(json.dumps(SMALL))
    for path, value in changed.items():
        *parents, key = path.split("__")
        place = job
        for parent in parents:
            place = place.setdefault(parent, {})
        place[key] = value
        if value is None:
            del place[key]
    return job


def script_job(**changed: Any) -> Job:
    job = {
        "resources": {"procs_per_node": 1, "threads": 1, "device": "cpu"},
        "run": {"script": "own.py"},
    }
    return {**job, **changed, "retry": {"max_restarts": 0, "lost_after": HELD_UP, **changed.get("retry", {})}}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    made.write("mine.py", MINE)
    made.write("own.py", "")
    yield made
    made.clear()


@pytest.fixture(scope="session")
def desks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Desk]]:
    """Makes desks whose runs several tests look at."""
    made: list[Desk] = []

    def make(name: str) -> Desk:
        made.append(Desk(tmp_path_factory.mktemp(name)))
        made[-1].write("mine.py", MINE)
        return made[-1]

    yield make
    for each in made:
        each.clear()


FINISHED: Job = {
    "seed": 5,
    "resources": {"procs_per_node": 2, "threads": 1, "device": "cpu", "time": "30m"},
    "train": {
        "model": {"target": "mlp", "in_features": 64, "hidden": [16], "out_features": 10, "dropout": 0.1},
        "loss": "cross_entropy",
        "optimizer": {"target": "sgd", "lr": 0.1, "momentum": 0.9},
        "data": {
            "train": {"target": "digits", "flatten": True},
            "val": {"target": "digits", "split": "val", "flatten": True},
            "test": {"target": "digits", "split": "val", "flatten": True},
            "batch_size": 100,
        },
        "metrics": ["accuracy"],
        "max_steps": 32,
        "evaluate_every": "8 steps",
    },
    "checkpoint": {"every": "10 steps", "keep_last": 2, "keep_best": {"monitor": "val/loss", "mode": "min"}},
    "log": {"every": "5 steps", "csv": True, "tensorboard": True, "plots": True},
    "retry": {"lost_after": HELD_UP},
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A run that several tests look at, the desk it lies on, and what its command said."""

    desk: Desk
    path: Path
    outcome: Outcome


@pytest.fixture(scope="session")
def finished(desks: Callable[[str], Desk]) -> Case:
    """Two ranks, evaluated, tested, with every view, trained to the end."""
    desk = desks("finished")
    outcome = desk.launch(desk.job(FINISHED, "digits"))
    assert outcome.code == 0, outcome.said
    complete_views(desk, desk.run())
    return Case(desk=desk, path=desk.run(), outcome=outcome)


SLOW = small(train__max_steps=60, checkpoint__every="20 steps", log__csv=True)
"""While a file `slow` lies in its folder, each step takes half a second: time for a command to start on a busy machine."""


@pytest.fixture(scope="session")
def undisturbed(desks: Callable[[str], Desk]) -> Case:
    desk = desks("undisturbed")
    outcome = desk.launch(desk.job(SLOW))
    assert outcome.code == 0, outcome.said
    complete_views(desk, desk.run())
    return Case(desk=desk, path=desk.run(), outcome=outcome)


@pytest.fixture(scope="session")
def stopped(desks: Callable[[str], Desk]) -> Case:
    """The same training, in the background, stopped on the way by `launch stop`. Copy it before it is continued."""
    desk = desks("stopped")
    desk.write("slow", "")
    began = desk.launch(desk.job(SLOW), "--detach")
    assert began.code == 0, began.said
    until(lambda: len(rows(desk.run())) > 3)
    outcome = desk.launch("stop", "last", "--wait")
    assert outcome.code == 0, outcome.said
    (desk.folder / "slow").unlink()
    return Case(desk=desk, path=desk.run(), outcome=outcome)


@pytest.fixture(scope="session")
def alone(desks: Callable[[str], Desk]) -> Case:
    """SMALL, by launch, on one rank."""
    desk = desks("alone")
    outcome = desk.launch(desk.job(SMALL))
    assert outcome.code == 0, outcome.said
    return Case(desk=desk, path=desk.run(), outcome=outcome)


@pytest.fixture(scope="session")
def moved(stopped: Case, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """The stopped run, copied, moved, renamed, with a row that no checkpoint covers, and continued from another folder."""
    folder = tmp_path_factory.mktemp("moved")
    run = Path(shutil.copytree(stopped.path, folder / "elsewhere" / stopped.path.name)).rename(folder / "renamed-by-hand")
    with (run / "metrics.jsonl").open("a") as frozen:
        frozen.write(json.dumps({"step": rows(run)[-1]["step"] + 1, "train/loss": 99.0}) + "\n")
        frozen.flush()
        outcome = stopped.desk.launch("resume", str(run), cwd=folder)
        frozen.write("a process that wakes up\n")
    assert outcome.code == 0, outcome.said
    complete_views(stopped.desk, run)
    return Case(desk=stopped.desk, path=run, outcome=outcome)
