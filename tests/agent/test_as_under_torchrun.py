"""A script cannot tell whether torchrun or the agent runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.agent.conftest import Job
from tests.agent.pipes import TORCH
from tests.patience import PATIENCE_S

REPORT = """
import json, multiprocessing, os, signal, sys, threading
import torch, torch.distributed as dist
dist.init_process_group("gloo")
told = {
    "environment": dict(os.environ), "argv": sys.argv, "cwd": os.getcwd(), "path": sys.path, "name": __name__,
    "file": globals().get("__file__"),
    "spec": getattr(__spec__, "name", None), "package": __package__, "main": sys.modules["__main__"].__dict__ is globals(),
    "method": multiprocessing.get_start_method(allow_none=True), "process": multiprocessing.current_process().name,
    "parent": multiprocessing.parent_process() is None, "thread": threading.current_thread() is threading.main_thread(),
    "signals": [str(signal.getsignal(n)) for n in (1, 2, 10, 12, 13, 15, 17)],
    "leader": os.getsid(0) == os.getpid() == os.getpgid(0),
    "umask": os.umask(0o22), "threads": torch.get_num_threads(), "names": sorted(n for n in globals() if n.startswith("__")),
}
with open(f"{os.environ['TO']}-{os.environ['RANK']}.json", "w") as file:
    json.dump(told, file)
dist.barrier()
dist.destroy_process_group()
"""
DIFFER = {"MASTER_PORT", "MASTER_ADDR", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_ERROR_FILE", "TO", "_", "SHLVL"}
"""Whose values are the launcher's to choose."""
ITS_OWN = {"TORCHELASTIC_SIGNALS_TO_HANDLE"}
"""By which torchrun's command line tells torchrun's agent something."""
OURS = {"LAUNCHER_RUN_DIR", "LAUNCHER_ATTEMPT", "LAUNCHER_CHANNEL"}


def under_torchrun(folder: Path, *command: str) -> list[dict[str, Any]]:
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=3", *command]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TO": str(folder / "torchrun")}
    subprocess.run(line, cwd=folder, env=environment, check=True, capture_output=True, timeout=PATIENCE_S)
    return [json.loads((folder / f"torchrun-{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.parametrize("kind", ["script", pytest.param("module", marks=pytest.mark.long)])
def test_environment_main_and_streams(kind: str, job: Job, tmp_path: Path) -> None:
    target, command = {"script": (None, ["train.py"]), "module": ("pack.train", ["-m", "pack.train"])}[kind]
    to = tmp_path / "agent"
    supervisor = job(
        REPORT, kind=kind, preload=TORCH, argv=["--lr", "0.1 0"], env={"TO": str(to)}, **({"target": target} if target else {})
    )
    folder = supervisor.run.path.parent / "work"
    (folder / "pack").mkdir()
    (folder / "pack" / "__init__.py").touch()
    (folder / "pack" / "train.py").write_text(REPORT)
    supervisor.warm()
    supervisor.start(ranks=2)
    assert supervisor.codes(ranks=2) == [0, 0], supervisor.log()
    for rank, expected in enumerate(under_torchrun(folder, *command, "--lr", "0.1 0")):
        told = json.loads(Path(f"{to}-{rank}.json").read_text())
        compare(told, expected)


def compare(told: dict[str, Any], expected: dict[str, Any]) -> None:
    ours, theirs = told.pop("environment"), expected.pop("environment")
    assert set(ours) - OURS == set(theirs) - ITS_OWN
    same = ours.keys() & theirs.keys() - DIFFER
    assert {name: ours[name] for name in same} == {name: theirs[name] for name in same}
    for each in (told, expected):
        each["argv"][0] = Path(each["argv"][0]).name
        each["file"] = Path(each["file"]).name
        each["path"][0] = os.path.realpath(each["path"][0])
    assert told == expected
