from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from launcher.events import fold, ledger
from launcher.rundir import RunDir
from tests.patience import PATIENCE_S

LAUNCH = str(Path(sys.executable).with_name("launch"))


class Bench:
    """A folder with a job in it, and the processes that were started from it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen[bytes]] = []

    def spec(self, job: dict[str, Any], name: str = "job") -> Path:
        path = self.folder / f"{name}.yaml"
        path.write_text(json.dumps(job))  # JSON is YAML
        return path

    def launch(self, *argv: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "LAUNCHER_RUNS": str(self.folder / "runs")}
        with (self.folder / "screen.txt").open("ab") as screen:
            process = subprocess.Popen([LAUNCH, *argv], cwd=self.folder, env=environment, stdin=subprocess.DEVNULL,
                                       stdout=screen, stderr=screen, start_new_session=True)  # fmt: skip
        self.started.append(process)
        return process

    def wait(self, process: subprocess.Popen[bytes], timeout_s: float = PATIENCE_S) -> int:
        return process.wait(timeout_s)

    def run(self) -> Path:
        """The only run in the folder."""
        (path,) = (each for each in (self.folder / "runs").iterdir() if not each.name.startswith("."))
        return path

    def screen(self) -> str:
        return (self.folder / "screen.txt").read_text()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    for process in made.started:
        for each in family(process.pid):
            each.kill()
        process.wait()


def family(pid: int) -> list[psutil.Process]:
    """A process and all that descends from it now."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def gone(processes: list[psutil.Process], within_s: float = 5.0) -> list[psutil.Process]:
    """Those that are still there after so long (zombies count as gone)."""
    deadline = time.monotonic() + within_s
    while True:
        left = [each for each in processes if alive(each)]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.02)


def over(run: Path, code: int) -> bool:
    """Whether nothing is left to resume: exit 0, or a kill in the moment between the run's last event and the exit."""
    return code == 0 or (code < 0 and fold(ledger(RunDir(run))).state == "done")


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def until(condition: Callable[[], Any], within_s: float = PATIENCE_S) -> Any:
    deadline = time.monotonic() + within_s
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
    return value
