"""README's examples: every one of them is laid over the job that stands above them, and trains a step."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from accelerate.state import AcceleratorState

import launcher
from launcher.cli.commands import COMMANDS
from launcher.load import dump_job, load_job
from launcher.rundir import RunDir
from launcher.spec.docs import explain
from launcher.worker.job import read_job
from launcher.worker.train import train
from launcher.worker.world import joined
from tests.worker.worlds import MANY_MAY_TAKE_S, on_ranks

README = (Path(__file__).parents[2] / "README.md").read_text()
SECTION = README.split("## What people ask of a training", 1)[1].split("\n## ", 1)[0]
BASE = re.search(r"```yaml\n(.*?)```", SECTION, re.DOTALL)[1]  # type: ignore[index]
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in SECTION.splitlines() if line.startswith("| ")][2:]
SECTIONS = ("log", "checkpoint", "retry", "resources")
SHORT = ["resources.device=cpu", "resources.threads=1", "log.plots=false", "train.limit_batches=1", "train.epochs=2"]
LOADED = ("faster steps",)
"""It takes a minute, and trains in test_switches.py."""

MY_PKG = {
    "my_pkg/__init__.py": "",
    "my_pkg/models.py": """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, width):
        super().__init__(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))
""",
    "my_pkg/data.py": """
import torch

class Set:
    def __init__(self, samples): self.samples = samples
    def __len__(self): return self.samples
    def __getitem__(self, index): return torch.full((1, 8, 8), float(index % 10)), index % 10
""",
    "data/flowers.csv": "a,b,c,d,kind\n" + "5.1,3.5,1.4,0.2,0\n7.0,3.2,4.7,1.4,1\n6.3,3.3,6.0,2.5,2\n" * 20,
}


def spans(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def examples() -> dict[str, dict[str, Any]]:
    """By question: what its spans of YAML say together."""
    found = {}
    for question, _, example in ROWS:
        parts = [yaml.safe_load(span) for span in spans(example) if re.match(r"[a-z_]+: ", span)]
        if merged := {key: value for part in parts for key, value in part.items()}:
            own = {key: merged.pop(key) for key in SECTIONS if key in merged}
            found[question] = own | ({"train": merged} if merged else {})
    return found


EXAMPLES = examples()


def prepared(folder: Path) -> None:
    """The files that examples speak of."""
    from PIL import Image

    for name, text in MY_PKG.items():
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_text(text)
    for split in ("train", "val"):
        for kind in ("cats", "dogs"):
            (folder / "data" / split / kind).mkdir(parents=True)
            Image.new("RGB", (9, 9), "red").save(folder / "data" / split / kind / "one.png")
    (folder / "base.yaml").write_text(f"name: base\n{BASE}")


def run_of(folder: Path, name: str, job: dict[str, Any]) -> RunDir:
    (folder / "job.yaml").write_text(yaml.safe_dump({"name": "example", "extends": "base.yaml", **job}))
    run = RunDir(folder / "runs" / re.sub(r"\W+", "-", name))
    run.path.mkdir(parents=True)
    run.job.write_text(dump_job(load_job("job.yaml", overrides=SHORT)))
    return run


def all_of_them(folder: Path) -> dict[str, str]:
    """On a rank: what went wrong, by question."""
    os.chdir(folder)
    prepared(folder)
    wrong = {}
    for name, job in {"the job itself": {}, **EXAMPLES}.items():
        try:
            run = run_of(folder, name, job)
            AcceleratorState._reset_state()  # it keeps the first precision of a process
            if name not in LOADED:
                with joined(read_job(run)) as world:
                    train(run, read_job(run), world)
            if name == "the job itself":
                newest = max(run.checkpoints.glob("step-*"))
                (folder / "pretrained.safetensors").write_bytes((newest / "model.safetensors").read_bytes())
        except Exception as error:
            wrong[name] = f"{type(error).__name__}: {error}"
    return wrong


@pytest.fixture(scope="module")
def went_wrong(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return on_ranks(1, all_of_them, tmp_path_factory.mktemp("readme"), may_take_s=MANY_MAY_TAKE_S)[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("question", ["the job itself", *EXAMPLES])
def test_an_example_trains(went_wrong: dict[str, str], question: str) -> None:
    assert went_wrong.get(question) is None


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_row_names_what_there_is(row: list[str]) -> None:
    question, field, example = row
    for path in spans(field):
        assert path == "target" or explain(path).doc
    commands = [span.split()[1] for span in spans(example) if span.startswith("launch ")]
    assert all(command in COMMANDS for command in commands)
    names = [span.removeprefix("launcher.").split("(")[0] for span in spans(example) if span.startswith("launcher.")]
    assert all(hasattr(launcher, name) for name in names)
    assert commands or names or question in EXAMPLES or "logging" in example
