"""What lies in a file or folder of its own, or comes later, is prepared as the training set is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.utils.rnn import pack_sequence
from torch.utils.data import Subset

from launcher.load import parse_job
from launcher.worker.data.arrays import Prepared
from launcher.worker.data.nested import on_device
from launcher.worker.data.new import new_data
from launcher.worker.data.splits import make_dataset, make_datasets
from launcher.worker.errors import WorkerError
from tests.worker.worlds import ALONE, a_job

TRAIN = "x,y,kind\n1,10,ant\n2,20,bee\n3,60,cat\n4,30,bee\n"
LATER = "x,y,kind\n3,10,cat\n2,70,bee\n"


def spec(**data: Any) -> Any:
    train = parse_job(json.dumps(a_job(data={"batch_size": 2, **data}))).train
    assert train is not None
    return train


def tables(folder: Path, later: str = LATER, **more: Any) -> Any:
    (folder / "train.csv").write_text(TRAIN)
    (folder / "later.csv").write_text(later)
    both = ({"target": "csv", "path": str(folder / name), "targets": "kind", **more} for name in ("train.csv", "later.csv"))
    return spec(**dict(zip(("train", "val"), both, strict=True)))


def test_classes_of_another_table_are_numbered_by_the_training_sets_names(tmp_path: Path) -> None:
    found = make_datasets(tables(tmp_path), 1, ALONE)
    assert found["train"].tensors[1].tolist() == [0, 1, 2, 1]
    assert found["val"].tensors[1].tolist() == [2, 1]
    assert make_dataset(tables(tmp_path), "val").tensors[1].tolist() == [2, 1]


def test_a_class_of_which_nothing_is_learned_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        WorkerError, match=r"train\.data\.val: class 'dog' is none of those that train\.data\.train has: ant, bee, cat"
    ):
        make_datasets(tables(tmp_path, LATER + "1,1,dog\n"), 1, ALONE)


def test_another_table_is_normalised_by_the_training_sets_statistics(tmp_path: Path) -> None:
    raw = torch.tensor([[1.0, 10], [2, 20], [3, 60], [4, 30]]).double()
    wanted = ((torch.tensor([[3.0, 10], [2, 70]]) - raw.mean(0)) / raw.std(0, correction=0)).float()
    found = make_datasets(tables(tmp_path, normalize=True), 1, ALONE)
    assert torch.equal(found["val"].tensors[0], wanted)
    assert found["val"].tensors[1].tolist() == [2, 1]
    torch.testing.assert_close(found["train"].tensors[0].mean(0), torch.zeros(2), atol=1e-6, rtol=0)
    apart = tables(tmp_path, normalize=True)
    plain = apart.data.val.model_copy(update={"normalize": False})
    apart = apart.model_copy(update={"data": apart.data.model_copy(update={"val": plain})})
    assert make_datasets(apart, 1, ALONE)["val"].tensors[0].tolist() == [[3, 10], [2, 70]]


def test_folders_of_pictures_have_the_numbers_of_the_training_sets_folders(tmp_path: Path) -> None:
    for folder, kinds in (("train", ("ant", "bee", "cat")), ("val", ("bee", "cat"))):
        for kind in kinds:
            (tmp_path / folder / kind).mkdir(parents=True)
            Image.new("RGB", (4, 4)).save(tmp_path / folder / kind / "1.png")
    both = {name: {"target": "image_folder", "root": str(tmp_path / name)} for name in ("train", "val")}
    found = make_datasets(spec(**both), 1, ALONE)["val"]
    assert [found[at][1] for at in range(2)] == [1, 2]
    assert (found.targets, found.classes) == ([1, 2], ["ant", "bee", "cat"])


@pytest.mark.parametrize("new", ["csv", "npz"])
@pytest.mark.parametrize("old", ["csv", "npz", "iris", "fold"])
def test_new_data_are_normalised_as_the_training_data_were_whatever_file_they_are_in(tmp_path: Path, old: str, new: str) -> None:
    rng = np.random.default_rng(1)
    inputs = rng.normal(3, 2, (40, 4)).astype(np.float32)
    np.savez(tmp_path / "a.npz", x=inputs, y=np.arange(40) % 2)
    lines = [f"{','.join(map(repr, map(float, row)))},{at % 2}" for at, row in enumerate(inputs)]
    (tmp_path / "a.csv").write_text("\n".join(["a,b,c,d,y", *lines]) + "\n")
    of = {"target": "npz", "path": str(tmp_path / "a.npz"), "normalize": True, "split": "all", "targets_are": "auto"}
    train: dict[str, Any] = {
        "csv": {"target": "csv", "path": str(tmp_path / "a.csv"), "normalize": True},
        "npz": of,
        "iris": {"target": "iris"},
        "fold": {"target": "launcher.worker.data.folds:fold", "of": of, "fold": 0, "folds": 4, "split": "train"},
    }[old]
    wanted = spec(train=train)
    whole = make_dataset(wanted, "train")
    prepared = whole.dataset if isinstance(whole, Subset) else whole
    assert isinstance(prepared, Prepared)
    assert prepared.statistics is not None
    later = np.array([[5.1, 3.5, 1.4, 0.2], [7, 3.2, 4.7, 1.4]], np.float32)
    np.savez(tmp_path / "new.npz", x=later)
    (tmp_path / "new.csv").write_text("a,b,c,d\n" + "".join(f"{','.join(map(repr, map(float, row)))}\n" for row in later))
    found = new_data(wanted, str(tmp_path / f"new.{new}"), ("input",)).dataset.tensors[0]
    own = whole.dataset.tensors[0][whole.indices] if isinstance(whole, Subset) else whole.tensors[0]
    torch.testing.assert_close(own.mean(0), torch.zeros(4), atol=1e-6, rtol=0)
    assert torch.equal(found, prepared.statistics.normalized(torch.from_numpy(later)))


def test_a_split_that_takes_nothing_from_the_training_set_does_without_it(tmp_path: Path) -> None:
    np.savez(tmp_path / "test.npz", x=np.zeros((3, 2), np.float32), y=np.arange(3))
    both = {name: {"target": "npz", "path": str(tmp_path / f"{name}.npz")} for name in ("train", "test")}
    assert len(make_dataset(spec(**both), "test")) == 3


def test_packed_sequences_are_moved_whole_but_for_what_torch_reads_on_the_host() -> None:
    packed = pack_sequence([torch.ones(2, 3), torch.ones(4, 3)], enforce_sorted=False)
    moved, own = on_device(packed, torch.device("meta"), None), packed.to("meta")
    for name in ("data", "batch_sizes", "sorted_indices", "unsorted_indices"):
        assert getattr(moved, name).device == getattr(own, name).device


def test_new_data_of_another_shape_are_told(tmp_path: Path) -> None:
    np.savez(tmp_path / "new.npz", x=np.zeros((2, 3), np.float32))
    with pytest.raises(WorkerError, match=r"a sample has the shape \[3\], and one of the training data \[4\]"):
        new_data(spec(train="iris"), str(tmp_path / "new.npz"), ("input",))
