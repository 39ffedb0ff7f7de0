"""A checkpoint is whole and verified, or it is not there."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher import checkpoints
from launcher.rundir import RunDir, json_lines
from launcher.worker.errors import WorkerError
from launcher.worker.restore import restore
from tests.worker import trainings
from tests.worker.trainings import ALONE, new_run, same, saved, saver, step, training

KILLS = 20


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1)


FILES = ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"]
DAMAGES = [(name, damage) for name in FILES for damage in (flip, truncate, Path.unlink)]


@pytest.mark.parametrize(("name", "damage"), DAMAGES)
def test_a_damaged_checkpoint_is_told_of_and_the_one_before_it_used(name, damage, tmp_path: Path, capfd) -> None:  # type: ignore[no-untyped-def]
    run, state = new_run(tmp_path), training()
    step(state)
    saved(run, state)
    step(state)
    damage(saved(run, state) / name)
    resumed = training()
    restore(run, resumed, ALONE)
    assert resumed.step == 1
    assert "checkpoint step-00000002 is damaged and was not used" in capfd.readouterr().err
    assert [each["name"] for each in json_lines(run.events) if each["event"] == "damaged"] == ["step-00000002"]


def test_what_cannot_be_read_now_stays_and_nothing_begins_anew_for_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, state = new_run(tmp_path), training()
    for _ in range(2):
        step(state)
        saved(run, state)
    digest, unread = checkpoints.digest, {"step-00000002"}

    def read(file: Path) -> str:
        if file.parent.name in unread:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return digest(file)

    monkeypatch.setattr(checkpoints, "digest", read)
    resumed = training()
    restore(run, resumed, ALONE)
    assert resumed.step == 1
    assert "checkpoint step-00000002 cannot be read and was not used: Input/output error" in capfd.readouterr().err
    unread.add("step-00000001")
    with pytest.raises(OSError, match="Input/output error"):
        restore(run, resumed, ALONE)
    assert [each.step for each in checkpoints.checkpoints(run)] == [1, 2]


def test_a_damaged_checkpoint_does_not_crowd_out_a_good_one(tmp_path: Path) -> None:
    run, state = new_run(tmp_path), training()
    step(state)
    saved(run, state, keep_last=1)
    state.step = 9
    flip(saved(run, state, keep_last=2) / "model.safetensors")
    restore(run, state, ALONE)
    step(state)
    saved(run, state, keep_last=1)
    assert [each.step for each in checkpoints.checkpoints(run)] == [2]
    restore(run, state, ALONE)
    assert state.step == 2


def test_where_all_are_damaged_there_is_none(tmp_path: Path) -> None:
    run, state = new_run(tmp_path), training()
    truncate(saved(run, state) / "model.safetensors")
    assert restore(run, state, ALONE) is None


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "none", str(folder)], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_explained_and_leaves_nothing_half_written(small_disk: Path, capfd) -> None:  # type: ignore[no-untyped-def]
    run, state = new_run(small_disk), training()
    step(state)
    saved(run, state)
    (small_disk / "filler").write_bytes(bytes(230_000))
    step(state)
    writer = saver(run)
    writer.save(state, metrics={}, rows=0, attempt=1)
    with pytest.raises(
        WorkerError, match=r"step 2 could not be .*: No space left on device. It needs 0\.0 MB, and 0\.0 MB are free"
    ) as caught:
        writer.wait()
    assert caught.value.kind == "environment"
    assert "No space left" in capfd.readouterr().err
    assert [path.name for path in run.checkpoints.iterdir()] == ["step-00000001"]
    (small_disk / "filler").unlink()
    writer.save(state, metrics={}, rows=0, attempt=1, block=True)
    assert checkpoints.newest_whole(run)[0] == checkpoints.checkpoints(run)[1]


def started(run: RunDir, last_step: int) -> multiprocessing.process.BaseProcess:
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=trainings.train_on, args=(str(run.path), last_step))
    process.start()
    return process


def newest(run: RunDir) -> int:
    return max((each.step for each in checkpoints.checkpoints(run)), default=0)


def wait_for_more(run: RunDir, step: int) -> None:
    deadline = time.monotonic() + 240
    while newest(run) <= step:
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.long
def test_killed_at_any_instant_it_ends_as_if_undisturbed(tmp_path: Path) -> None:
    chance, disturbed, undisturbed = random.Random(5), new_run(tmp_path / "a"), new_run(tmp_path / "b")
    began = newest(disturbed)
    for _ in range(KILLS):
        process = started(disturbed, 100_000)
        wait_for_more(disturbed, began)
        process.join(chance.uniform(0, 0.1))
        process.kill()
        process.join()
        assert all(each.damage() is None for each in checkpoints.checkpoints(disturbed))
        began = newest(disturbed)
    for run in (disturbed, undisturbed):
        process = started(run, began + 5)
        process.join()
        assert process.exitcode == 0
    ended = [training(), training()]
    for run, state in zip((disturbed, undisturbed), ended, strict=True):
        restore(run, state, ALONE)
    assert same(*ended)
    assert disturbed.metrics.read_bytes() == undisturbed.metrics.read_bytes()
    assert [row["step"] for row in json_lines(disturbed.metrics)] == list(range(1, began + 6))
    assert sorted(path.name for path in disturbed.checkpoints.iterdir()) == [f"step-{began + past:08d}" for past in (4, 5)]


def test_leftovers_of_a_killed_process_are_cleared(tmp_path: Path) -> None:
    run, state = new_run(tmp_path), training()
    folder = saved(run, state)
    (run.checkpoints / ".step-00000007.writing.1").mkdir()
    (run.checkpoints / ".step-00000003.removed").mkdir()
    folder.rename(run.checkpoints / ".step-00000000.replaced")
    restore(run, state, ALONE)
    assert [path.name for path in run.checkpoints.iterdir()] == ["step-00000000"]


def test_the_manifest_is_what_makes_a_folder_a_checkpoint(tmp_path: Path) -> None:
    run, state = new_run(tmp_path), training()
    folder = saved(run, state)
    (folder / "manifest.json").unlink()
    assert checkpoints.newest_whole(run)[0] is None


@pytest.mark.parametrize("key", ["rows", "step", "metrics", "files"])
def test_a_manifest_that_says_something_else_is_damaged(key: str, tmp_path: Path) -> None:
    run, state = new_run(tmp_path), training()
    file = saved(run, state) / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: 7}))
    assert checkpoints.newest_whole(run)[0] is None
