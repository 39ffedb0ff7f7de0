"""Checkpoints as names and manifests, without a tensor."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from launcher import checkpoints
from launcher.rundir import RunDir

CONTENT = b"weights"


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path)


def make(run: RunDir, step: int, *, content: bytes = CONTENT, **metrics: float) -> Path:
    folder = run.checkpoints / checkpoints.checkpoint_name(step)
    folder.mkdir(parents=True)
    (folder / checkpoints.MODEL).write_bytes(content)
    entry = {"size": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest()}
    manifest = {"step": step, "metrics": metrics, "files": {checkpoints.MODEL: entry}}
    (folder / checkpoints.MANIFEST).write_text(json.dumps(manifest | {"seal": checkpoints.seal(manifest)}))
    return folder


def steps(run: RunDir) -> list[int]:
    return [each.step for each in checkpoints.checkpoints(run)]


def test_none_in_a_fresh_run(run: RunDir) -> None:
    assert checkpoints.checkpoints(run) == []
    assert checkpoints.newest_whole(run) == (None, [])
    checkpoints.recover(run)
    checkpoints.prune(run, keep_last=1)


def test_they_sort_by_step_and_others_names_are_not_theirs(run: RunDir) -> None:
    for step in (123456789, 20, 3):
        make(run, step)
    for name in (".step-00000007.writing.12", "step-7", "notes"):
        (run.checkpoints / name).mkdir()
    assert steps(run) == [3, 20, 123456789]


def test_the_newest_whole_is_found_and_the_damaged_are_told_of(run: RunDir) -> None:
    for step, content in [(1, CONTENT), (2, b"Weights"), (3, b"short")]:
        make(run, step, content=content)
    newest, passed = checkpoints.newest_whole(run)
    assert newest is not None
    assert newest.step == 1
    assert passed == [
        "checkpoint step-00000003 is damaged and was not used: model.safetensors has 5 bytes instead of 7",
        "checkpoint step-00000002 is damaged and was not used: "
        "model.safetensors does not have the content that was written (sha256 differs)",
    ]


def test_a_look_at_sizes_reads_no_content(run: RunDir) -> None:
    make(run, 1, content=b"Weights")
    (standing,) = checkpoints.checkpoints(run)
    assert standing.damage(every_byte=False) is None
    assert standing.damage() is not None


@pytest.mark.parametrize(("mode", "step"), [("max", 2), ("min", 1)])
def test_the_best_is_whole_and_of_equals_the_oldest(run: RunDir, mode: str, step: int) -> None:
    for number, value in enumerate([0.1, 0.9, 0.9, 0.1], start=1):
        make(run, number, accuracy=value)
    make(run, 5, content=b"Weights", accuracy=1.0 if mode == "max" else 0.0)
    make(run, 6)
    best = checkpoints.best(run, "accuracy", mode)
    assert best is not None
    assert best.step == step
    assert checkpoints.best(run, "loss", mode) is None


def test_pruning_counts_only_whole_ones(run: RunDir) -> None:
    for step in range(1, 6):
        make(run, step, content=b"short" if step in (2, 5) else CONTENT)
    checkpoints.prune(run, keep_last=2, keep={1})
    assert steps(run) == [1, 3, 4, 5]


def test_pruning_never_removes_the_last_whole_one(run: RunDir) -> None:
    for step in range(1, 4):
        make(run, step, content=CONTENT if step == 1 else b"short")
    checkpoints.prune(run, keep_last=1)
    assert steps(run) == [1, 2, 3]


def test_publishing_replaces_the_same_steps_older_one(run: RunDir) -> None:
    make(run, 1, content=b"older")
    written = make(run, 2).replace(checkpoints.writing_path(run, 1))
    published = checkpoints.publish(written, run, 1)
    assert (published.path / checkpoints.MODEL).read_bytes() == CONTENT
    assert [path.name for path in run.checkpoints.iterdir()] == ["step-00000001"]


@pytest.mark.parametrize("standing", [True, False])
def test_recovery_puts_back_what_was_being_replaced(run: RunDir, standing: bool) -> None:
    make(run, 1).rename(run.checkpoints / ".step-00000001.replaced")
    if standing:
        make(run, 1)
    checkpoints.recover(run)
    assert [path.name for path in run.checkpoints.iterdir()] == ["step-00000001"]


def test_recovery_keeps_what_was_set_aside_as_damaged(run: RunDir) -> None:
    make(run, 1)
    aside = checkpoints.set_aside(checkpoints.checkpoints(run)[0])
    checkpoints.recover(run)
    assert aside.is_dir()
    assert steps(run) == []
