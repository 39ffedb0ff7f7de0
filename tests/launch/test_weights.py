"""`train.weights` is resolved where launch is called, and refused there where it can be seen to be wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from launcher.errors import UsageError
from launcher.load import load_job, parse_job
from launcher.rundir import RunDir
from launcher.runs import runs_folder
from launcher.weights import settled

BASE = "20260101-000000-base-aaaa"


@pytest.fixture
def base(by_hand: Any, done: Any) -> RunDir:
    run: RunDir = by_hand(BASE, ledger=done)
    folder = run.checkpoints / "step-00000012"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    return run


def resolved(train: str, named: str, **how: bool) -> str | None:
    job = settled(parse_job(train + f"  weights: {named}\nname: own\n", workdir=str(Path.cwd())), runs_folder(), **how)
    assert job.train is not None
    return job.train.weights


@pytest.mark.parametrize(("named", "meant"), [
    ("base", f"runs/{BASE}"), (BASE, f"runs/{BASE}"), ("20260101-0", f"runs/{BASE}"), ("last", f"runs/{BASE}"),
    (f"runs/{BASE}", f"runs/{BASE}"), (f"runs/{BASE}/checkpoints/step-00000012", f"runs/{BASE}/checkpoints/step-00000012"),
    ("net.pth", "net.pth"), ("./sub/net.safetensors", "sub/net.safetensors"), ("net", "net"),
])  # fmt: skip
def test_weights_are_a_run_a_checkpoint_or_a_file(project: Path, base: RunDir, train: str, named: str, meant: str) -> None:
    (project / "sub").mkdir()
    for file in ("net.pth", "net", "sub/net.safetensors"):
        (project / file).write_text("")
    assert resolved(train, named) == str(project / meant)


def test_torchvisions_names_stay(base: RunDir, train: str) -> None:
    assert resolved(train, "ResNet18_Weights.DEFAULT") == "ResNet18_Weights.DEFAULT"


@pytest.mark.parametrize(("named", "words"), [
    ("bas", "train.weights: no run 'bas' in"), ("none/net.pth", "train.weights: there is no file, checkpoint or run"),
    ("net.pth", "train.weights: there is no file"), ("./folder", "is a folder that is neither a run nor a checkpoint of one"),
])  # fmt: skip
def test_what_is_not_there_is_refused(project: Path, base: RunDir, train: str, named: str, words: str) -> None:
    (project / "folder").mkdir()
    with pytest.raises(UsageError, match=re.escape(words)):
        resolved(train, named)


def test_a_run_without_a_checkpoint_is_refused_unless_it_is_waited_for(by_hand: Any, train: str) -> None:
    by_hand(BASE)
    with pytest.raises(UsageError, match=f"run {BASE} has no checkpoint yet"):
        resolved(train, "base")
    assert str(resolved(train, "base", later=True)).endswith(BASE)


def test_the_job_of_a_run_has_the_path(project: Path, base: RunDir, launch: Any, train: str) -> None:
    (project / "own.yaml").write_text(train + "  weights: last\n")
    assert launch("own.yaml", "--prepare").code == 0
    [made] = [path for path in (project / "runs").iterdir() if path.name != BASE]
    job = load_job(made / "job.yaml")
    assert job.train is not None
    assert job.train.weights == str(base.path)
