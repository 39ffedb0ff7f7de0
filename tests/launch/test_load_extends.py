from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from launcher.errors import SpecError
from launcher.load import load_job
from launcher.spec import Job

Files = Callable[..., Path]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    """Writes files and returns the path of the first."""
    monkeypatch.chdir(tmp_path)

    def write(**texts: str) -> Path:
        for name, text in texts.items():
            (tmp_path / f"{name}.yaml").write_text(text)
        return Path(f"{next(iter(texts))}.yaml")

    return write


def refused(path: Path) -> str:
    with pytest.raises(SpecError) as error:
        load_job(path)
    return str(error.value)


def optimizer(job: Job) -> dict[str, Any]:
    assert job.train is not None
    return {"target": job.train.optimizer.target, **job.train.optimizer.arguments}


def test_mappings_merge_and_lists_are_replaced(files: Files) -> None:
    top = files(
        top="extends: base.yaml\nrun: {args: [c]}\nresources: {nodes: 3}",
        base="seed: 7\nrun: {script: a.py, args: [a, b]}\nresources: {nodes: 2, device: cpu}",
    )
    job = load_job(top)
    assert job.run is not None
    assert (job.run.script, job.run.args, job.seed) == ("a.py", ["c"], 7)
    assert (job.resources.nodes, job.resources.device) == (3, "cpu")


def test_later_bases_lie_over_earlier_ones(files: Files) -> None:
    top = files(top="extends: [a.yaml, b.yaml]\nrun: {script: x}", a="seed: 1\nname: a", b="seed: 2")
    assert (load_job(top).seed, load_job(top).name) == (2, "a")


def test_paths_start_at_the_file_that_names_them(files: Files, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "middle.yaml").write_text("extends: ../bottom.yaml")
    assert load_job(files(top="extends: sub/middle.yaml", bottom="run: {script: x}\nseed: 5")).seed == 5


def test_name_is_that_of_the_file_at_the_top(files: Files) -> None:
    assert load_job(files(top="extends: base.yaml", base="run: {script: x}")).name == "top"


def test_a_value_can_be_taken_away(files: Files, train: str) -> None:
    job = load_job(files(top="extends: base.yaml\ntrain: {schedule: null}", base=train + "  schedule: cosine\n"))
    assert job.train is not None
    assert job.train.schedule is None


@pytest.mark.parametrize(("over", "kept"), [
    ("{lr: 0.5}", {"target": "sgd", "lr": 0.5, "momentum": 0.9}),
    ("{target: sgd, lr: 0.5}", {"target": "sgd", "lr": 0.5, "momentum": 0.9}),
    ("{target: adam}", {"target": "adam", "lr": 0.001}),
    ("adam", {"target": "adam", "lr": 0.001}),
])  # fmt: skip
def test_another_target_brings_its_own_arguments(files: Files, train: str, over: str, kept: dict[str, Any]) -> None:
    base = train.replace("lr: 0.1", "lr: 0.1, momentum: 0.9")
    found = optimizer(load_job(files(top=f"extends: base.yaml\ntrain: {{optimizer: {over}}}", base=base)))
    assert kept.items() <= found.items()


def test_arguments_may_be_laid_over_a_bare_name(files: Files, train: str) -> None:
    job = load_job(files(top="extends: base.yaml\ntrain: {loss: {label_smoothing: 0.1}}", base=train))
    assert job.train is not None
    assert job.train.loss.arguments["label_smoothing"] == 0.1


def test_an_error_stands_where_its_value_was_written(files: Files) -> None:
    message = refused(files(top="extends: base.yaml\nseed: x", base="run: {script: x}\nlog: {evry: 1}"))
    assert "top.yaml:2:7: seed: expected an integer" in message
    assert "base.yaml:2:7: log.evry: unknown key 'evry'. Did you mean 'every'?" in message


def test_a_circle_is_told_with_its_chain(files: Files) -> None:
    message = refused(files(a="extends: b.yaml\nrun: {script: x}", b="extends: c.yaml", c="extends: [b.yaml]"))
    assert "c.yaml:1:11: extends: files extend each other in a circle: b.yaml -> c.yaml -> b.yaml" in message


def test_a_file_may_be_a_base_twice(files: Files) -> None:
    assert (
        load_job(files(a="extends: [b.yaml, c.yaml]", b="extends: d.yaml", c="extends: d.yaml", d="run: {script: x}")).name == "a"
    )


def test_a_fan_of_files_is_bounded(files: Files) -> None:
    fan = {f"f{n}": f"extends: [{', '.join([f'f{n + 1}.yaml'] * 8)}]" for n in range(9)}
    assert "more than 64 files" in refused(files(**fan, f9="seed: 1"))


@pytest.mark.parametrize(("extends", "words"), [
    ("bsae.yaml", "top.yaml:1:10: extends: 'bsae.yaml': there is no such file. Did you mean 'base.yaml'?"),
    ("7", "top.yaml:1:10: extends: expected the path of a file, or a list of paths"),
    ("{a: b}", "top.yaml:1:10: extends: expected the path of a file, or a list of paths"),
    ("[base.yaml, 7]", "top.yaml:1:22: extends: expected the path of a file"),
    (".", "top.yaml:1:10: extends: '.': is a folder"),
    ("'a\\0'", "top.yaml:1:10: extends: 'a\\0': there is no such file"),
    ('"a\\0"', "top.yaml:1:10: a NUL byte"),
    ("broken.yaml", "broken.yaml:1:5: this is not YAML"),
    ("empty.yaml", "empty.yaml:1:1: the file is empty"),
])  # fmt: skip
def test_a_base_that_cannot_be_had(files: Files, extends: str, words: str) -> None:
    assert words in refused(files(top=f"extends: {extends}\nrun: {{script: x}}", base="seed: 1", broken="a: [", empty=""))


def test_what_a_base_that_is_not_there_may_hold_is_not_missing(files: Files) -> None:
    assert "give exactly one of train" not in refused(files(top="extends: bsae.yaml\nseed: 1"))
