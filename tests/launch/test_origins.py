"""`launch explain JOB.yaml`: which line each value comes from, and what came by default, with why."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from launcher.load.origins import origins

TOP = """extends: base.yaml
train:
  loss: mse
  optimizer: {target: adam, lr: 0.01}
  schedule: null
checkpoint: {keep_best: val/loss}
"""


@pytest.fixture
def job(project: Path, train: str) -> str:
    (project / "base.yaml").write_text(f"seed: 3{train}  schedule: cosine\n")
    (project / "top.yaml").write_text(TOP)
    return "top.yaml"


@pytest.mark.parametrize(("path", "value", "source", "why"), [
    ("name", "top", None, "the file's stem"),
    ("seed", 3, "base.yaml:1", None),
    ("train.loss.target", "mse", "top.yaml:3", None),
    ("train.optimizer.lr", 0.01, "top.yaml:4", None),
    ("train.optimizer.amsgrad", False, None, "adam's own"),
    ("train.metrics", [{"target": "accuracy"}], "base.yaml:10", None),
    ("train.epochs", 5, "--set 1", None),
    ("train.data.drop_last", False, None, "Leave out the last batch of an epoch where it is not full"),
    ("checkpoint.keep_best.monitor", "val/loss", "top.yaml:6", None),
])  # fmt: skip
def test_each_value_and_where_it_comes_from(job: str, path: str, value: Any, source: str | None, why: str | None) -> None:
    found = {each.path: each for each in origins(job, ["train.epochs=5"])}
    assert (found[path].value, found[path].source, found[path].why) == (value, source, why)
    assert not any(each.startswith("train.schedule") for each in found)


def test_every_default_has_a_reason(job: str) -> None:
    assert all((each.source is None) != (each.why is None) and each.why != "" for each in origins(job))


def test_on_screen(launch: Any, job: str) -> None:
    assert re.search(r"^train\.optimizer\.lr +0\.01 ", launch("explain", job).out, re.MULTILINE)
    assert launch("explain", "train.loss", "--job", job).out == "train.loss.target  mse  top.yaml:3\n"
    assert launch("explain", "train.loss", "--job", job, "--json").json[0]["source"] == "top.yaml:3"


@pytest.mark.parametrize(("words", "said"), [
    (["train.schedule", "--job", "top.yaml"], "top.yaml has no train.schedule, and nothing comes by default"),
    (["trian", "--job", "top.yaml"], "Did you mean 'train'?"),
    (["absent.yaml"], "absent.yaml: there is no such file"),
    (["train", "--set", "seed=1"], "--set changes a job file"),
])  # fmt: skip
def test_what_cannot_be_told(launch: Any, job: str, words: list[str], said: str) -> None:
    refused = launch("explain", *words)
    assert (refused.code, said in refused.err) == (2, True)
