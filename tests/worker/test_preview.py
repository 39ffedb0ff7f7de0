"""`launch preview`: what is shown is what the network gets, and no run is made."""

from __future__ import annotations

import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from matplotlib.figure import Figure
from PIL import Image

from launcher.worker.data.loader import MapLoader, StreamLoader
from launcher.worker.data.splits import make_datasets, make_loader
from launcher.worker.job import read_job
from launcher.worker.preview import Shown, draw, paint_table, preview, read_map, read_stream, target_in_words
from tests.worker.worlds import ALONE, a_job, run_of

AUGMENTED: dict[str, Any] = {
    "train": {"target": "digits"}, "batch_size": 20, "augment": [{"target": "random_affine", "degrees": 20}, "mixup"],
    "sampling": "weighted",
}  # fmt: skip


def test_what_is_shown_is_what_the_training_reads(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", a_job(data=AUGMENTED))
    job = read_job(run)
    assert job.train is not None
    dataset = make_datasets(job.train, job.seed, ALONE)["train"]
    loader = make_loader(dataset, "train", job.train, job.seed, run, ALONE)
    assert isinstance(loader, MapLoader)
    shown = read_map(loader, 20, 1)
    batch = next(islice(loader.portions(1), 1))
    assert torch.equal(torch.stack([each.after[0] for each in shown]), batch.micro[0][0])
    assert torch.equal(torch.stack([each.after[1] for each in shown]), batch.micro[0][1])
    assert all(torch.equal(each.before[0], dataset[int(sample)][0]) for each, sample in zip(shown, batch.ids[0], strict=True))


@pytest.mark.parametrize("data", [
    AUGMENTED, {"train": "iris", "batch_size": 4}, {"train": "sets:Stream", "batch_size": 4, "augment": ["noise"]},
    {"train": "sets:Ragged", "batch_size": 4, "collate": "pad"},
])  # fmt: skip
def test_images_numbers_sequences_and_streams_are_drawn(
    tmp_path: Path, data: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "seen.png"
    assert preview(run_of(tmp_path / "run", a_job(data=data)), out=out, samples=8, epoch=0) == 0
    picture = np.asarray(Image.open(out).convert("L"))
    assert picture.std() > 10, "nothing is drawn"
    assert capsys.readouterr().out.startswith("8 samples of train.data.train, as a batch: ")


def test_a_sample_is_above_and_what_became_of_it_below(tmp_path: Path) -> None:
    black, white = torch.zeros(1, 8, 8), torch.ones(1, 8, 8)
    draw([Shown((black, 0), (white, 0))] * 9, tmp_path / "seen.png", title="x", augmented=True)
    picture = np.asarray(Image.open(tmp_path / "seen.png").convert("L"))
    bands = [int(np.median(band[:, 30:150])) for band in np.array_split(picture[60:], 4)]
    assert bands[:2] == [0, 255]
    assert bands[2:] == [0, 255], "the ninth sample is in a second row"


def test_a_sequences_time_goes_from_left_to_right() -> None:
    axes = Figure().subplots()
    paint_table(axes, torch.zeros(5, 2), (0.0, 1.0))
    assert np.asarray(axes.images[0].get_array()).shape == (2, 5)


def test_a_stream_is_shown_as_it_is_and_as_it_is_augmented(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", a_job(data={"train": "sets:Stream", "batch_size": 4, "augment": ["noise"]}))
    job = read_job(run)
    assert job.train is not None
    dataset = make_datasets(job.train, job.seed, ALONE)["train"]
    loader = make_loader(dataset, "train", job.train, job.seed, run, ALONE)
    assert isinstance(loader, StreamLoader)
    shown = read_stream(loader, 3, 0)
    assert [each.before[1] for each in shown] == [each.after[1] for each in shown] == [0, 1, 2]
    for each in shown:
        assert not each.before[0][2:].any(), "these are 0 in the data"
        assert each.after[0][2:].all()


@pytest.mark.parametrize(("target", "words"), [
    (3, "3"), (torch.tensor([0.25]), "0.25"), (torch.tensor([0.0, 0.3, 0.7, 0.0]), "2: 0.70, 1: 0.30"),
    (torch.arange(3), "0 1 2"),
])  # fmt: skip
def test_targets_are_told(target: Any, words: str) -> None:
    assert target_in_words((torch.zeros(1), target)) == words
    assert target_in_words({"x": torch.zeros(1), "label": target}) == words
    assert target_in_words({"x": torch.zeros(1)}) == ""


def test_the_command_writes_a_picture_and_makes_no_run(tmp_path: Path) -> None:
    described = a_job(data={"train": "wine", "batch_size": 8})
    (tmp_path / "j.yaml").write_text(yaml.safe_dump(described))
    launch = [sys.executable, "-m", "launcher", "preview", "j.yaml"]
    done = subprocess.run(launch, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["j.yaml", "small-preview.png"]
    told = subprocess.run([*launch, "--set", "train.data.train.target=vine"], cwd=tmp_path, capture_output=True, text=True)
    assert told.returncode == 2
    assert "Did you mean 'wine'?" in told.stderr
