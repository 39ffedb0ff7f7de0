"""Built-in data sets: what an item is, how they are split, and what is said of files that are not as they should be."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn import datasets as sklearn_sets
from torch.utils.data import Subset, TensorDataset

from launcher.spec.catalogue import CATALOGUE
from launcher.spec.target import Target
from launcher.worker.data import tables
from launcher.worker.data.classes import balanced_weights, classes_of, counts_of
from launcher.worker.errors import WorkerError
from launcher.worker.targets import built, constructed_or_bound
from tests.worker import sets


def data(name: str, **arguments: Any) -> Any:
    return built("data", Target(target=name, **arguments), "train.data.train")


@pytest.mark.parametrize(("name", "features", "classes"), [("iris", 4, 3), ("wine", 13, 3), ("breast_cancer", 30, 2)])
def test_tables_are_split_by_class_and_normalised_by_their_training_part(name: str, features: int, classes: int) -> None:
    train, val, whole = (data(name, split=split, normalize=False).tensors for split in ("train", "val", "all"))
    raw, target = getattr(sklearn_sets, f"load_{name}")(return_X_y=True)
    assert whole[0].shape == (len(raw), features)
    assert torch.equal(whole[1], torch.from_numpy(target).long())
    rows = {tuple(row) for part in (train, val) for row in torch.cat([part[0], part[1][:, None]], 1).tolist()}
    assert rows == {tuple(row) for row in torch.cat([whole[0], whole[1][:, None]], 1).tolist()}
    shares = [torch.bincount(part[1]) / len(part[1]) for part in (train, val)]
    assert len(shares[0]) == classes
    assert float((shares[0] - shares[1]).abs().max()) < 0.04
    mean, std = train[0].mean(0), train[0].std(0, correction=0)
    torch.testing.assert_close(data(name, split="val").tensors[0], (val[0] - mean) / std, rtol=1e-4, atol=1e-4)


def test_a_number_to_be_predicted_is_a_column_and_normalised_where_asked() -> None:
    plain, scaled = (tables.diabetes(normalize_target=wanted).tensors[1] for wanted in (False, True))
    assert plain.shape == (353, 1)
    torch.testing.assert_close(scaled, (plain - plain.mean()) / plain.std(correction=0))


class Lazily(sets.Noisy):
    """Tells its targets only with its items."""


class Telling(sets.Noisy):
    def __init__(self) -> None:
        super().__init__(40)
        self.targets = [index % 5 for index in range(40)]

    def __getitem__(self, index: int) -> Any:
        raise AssertionError("its targets are at hand")


@pytest.mark.parametrize("dataset", [
    Lazily(40), Telling(), sets.Mappings(40), TensorDataset(torch.zeros(40, 2), torch.arange(40) % 5),
    Subset(Telling(), list(range(40))),
])  # fmt: skip
def test_classes_are_counted_from_memory_or_by_reading(dataset: Any) -> None:
    assert counts_of(classes_of(dataset, "x")).tolist() == [8] * 5


def test_what_are_no_classes_is_refused() -> None:
    with pytest.raises(WorkerError, match=r"x: a target is float32 of shape \[5\], and not a class: one integer"):
        classes_of(sets.numbers(samples=4), "x")


def test_balanced_weights_are_scikit_learns() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    classes = np.array([0] * 7 + [1] * 2 + [3])
    ours = balanced_weights(counts_of(classes))
    assert ours[[0, 1, 3]].tolist() == compute_class_weight("balanced", classes=np.array([0, 1, 3]), y=classes).tolist()
    assert ours[2] == 0


def write(folder: Path, name: str, content: Any) -> str:
    path = folder / name
    if isinstance(content, str):
        path.write_text(content)
    elif name.endswith(".npz"):
        np.savez(path, **content)
    else:
        save_file({key: torch.as_tensor(value) for key, value in content.items()}, path)
    return str(path)


@pytest.mark.parametrize("file", ["a.npz", "a.safetensors"])
def test_arrays_in_files_are_found_by_their_names(tmp_path: Path, file: str) -> None:
    stored = {"x": np.arange(40.0).reshape(20, 2), "labels": np.arange(20) % 2, "pixels": np.full((20, 1, 2, 2), 255, np.uint8)}
    path = write(tmp_path, file, stored)
    plain = data("tensor_dataset", path=path).tensors
    assert (plain[0].dtype, plain[1].dtype) == (torch.float32, torch.int64)
    assert plain[0].tolist() == stored["x"].tolist()
    pictures = data("tensor_dataset", path=path, inputs="pixels", targets="labels", targets_are="numbers").tensors
    assert pictures[0].unique().tolist() == [1.0]
    assert (pictures[1].dtype, pictures[1].shape) == (torch.float32, (20, 1))
    assert [len(data("tensor_dataset", path=path, split=split)) for split in ("train", "val")] == [16, 4]


CSV = "height,width,kind\n1,2.5,oak\n3,4,ash\n\n5,6,oak\n"


def test_a_table_gives_numbers_and_classes(tmp_path: Path) -> None:
    inputs, targets = data("csv", path=write(tmp_path, "a.csv", CSV)).tensors
    assert inputs.tolist() == [[1, 2.5], [3, 4], [5, 6]]
    assert targets.tolist() == [1, 0, 1]
    inputs, targets = data("csv", path=str(tmp_path / "a.csv"), inputs=["height"], targets="width").tensors
    assert inputs.tolist() == [[1], [3], [5]]
    assert targets.tolist() == [[2.5], [4], [6]]
    nameless = write(tmp_path, "b.csv", "7;0.5\n8;1\n")
    inputs, targets = data("csv", path=nameless, header=False, delimiter=";", targets="1").tensors
    assert (inputs.tolist(), targets.tolist()) == ([[0.5], [1]], [7, 8])


@pytest.mark.parametrize(("text", "told"), [
    (CSV.replace("4,", "four,"), "a.csv:3: column width is 'four', not a number"),
    (CSV.replace("2.5", ""), "a.csv:2: column width is nothing, not a number"),
    (CSV.replace("5,6,oak", "5,6"), "a.csv:5 has 2 values, and there are 3 columns"),
    (CSV.replace("5,6,oak", "5,6,"), "a.csv:5: column kind, the target, is empty"),
    (CSV.replace("5,6,oak", "5,6,3"), "a.csv:5: column kind, the target, is '3': 1 of 3 are numbers, the others names"),
    ("1,2\n3,4\n", "a.csv:1 holds numbers where the columns' names are expected. Write header: false"),
    ("a,b\n", "a.csv has no rows"),
])  # fmt: skip
def test_what_is_wrong_in_a_table_is_told_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(WorkerError, match=re.escape(told)) as refused:
        data("csv", path=write(tmp_path, "a.csv", text))
    assert refused.value.kind == "spec"


@pytest.mark.parametrize(("name", "arguments", "told"), [
    ("csv", {"path": "a.csv", "targets": "hight"}, "a.csv has no column 'hight'. There is: height, width, kind"),
    ("csv", {"path": "b.csv"}, "b.csv"),
    ("npz", {"path": "b.npz"}, "there is no file b.npz"),
    ("npz", {"path": "a.csv"}, "a.csv is no .npz or .safetensors file of plain arrays"),
    ("npz", {"path": "objects.npz"}, "Object arrays cannot be loaded when allow_pickle=False"),
    ("npz", {"path": "a.npz"}, "no array is called input, image, x. There is: features, y. Write inputs: NAME"),
    ("npz", {"path": "a.npz", "inputs": "features"}, "there are 3 inputs and 2 targets"),
    ("mnist", {"root": "nowhere"}, "nothing of it in nowhere"),
    ("image_folder", {"root": "nowhere"}, "nowhere"),
])  # fmt: skip
def test_files_that_do_not_fit_are_the_specs_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, arguments: dict[str, Any], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "a.csv", CSV)
    write(tmp_path, "a.npz", {"features": np.zeros((3, 2)), "y": np.zeros(2, np.int64)})
    write(tmp_path, "objects.npz", {"x": np.array([{}], dtype=object), "y": np.zeros(1)})
    with pytest.raises(WorkerError, match=re.escape(told)) as refused:
        data(name, **arguments)
    assert refused.value.kind == "spec"


def test_pictures_in_folders_are_tensors_of_one_size(tmp_path: Path) -> None:
    for number, (kind, width) in enumerate((("cat", 6), ("dog", 9), ("dog", 4))):
        (tmp_path / kind).mkdir(exist_ok=True)
        Image.new("RGB", (width, 5), (255, 0, 51)).save(tmp_path / kind / f"{number}.png")
    pictures = data("image_folder", root=str(tmp_path), size=[4, 8], mean=[0.5, 0.5, 0.5], std=[0.5, 0.5, 0.5])
    image, kind = pictures[1]
    assert type(image) is torch.Tensor
    assert image.shape == (3, 4, 8)
    torch.testing.assert_close(image[:, 0, 0], torch.tensor([1.0, -1.0, -0.6]))
    assert (kind, len(pictures), classes_of(pictures, "x").tolist()) == (1, 3, [0, 1, 1])
    assert data("image_folder", root=str(tmp_path), size=4, grayscale=True)[0][0].shape == (1, 4, 4)


def test_sequences_are_padded_and_their_lengths_told() -> None:
    pad = constructed_or_bound("collate", Target(target="pad", value=9.0), "x")
    items = [(torch.ones(length, 2), torch.arange(length - 1)) for length in (2, 3)]
    batch = pad(items)
    assert batch["input"].shape == (2, 3, 2)
    assert batch["input"][0, 2].tolist() == [9.0, 9.0]
    assert (batch["input_lengths"].tolist(), batch["target_lengths"].tolist()) == ([2, 3], [1, 2])
    assert batch["target"].tolist() == [[0, -100], [0, 1]]
    assert pad([(torch.ones(1), 3), (torch.ones(2), 4)])["target"].tolist() == [3, 4]


@pytest.mark.parametrize("arguments", [
    {}, {"split": "all"}, {"imbalance": 20}, {"per_class": 10}, {"imbalance": 5, "per_class": 40, "classes": [7, 2]},
    {"split": "val", "imbalance": 20, "per_class": 3},
])  # fmt: skip
def test_the_digits_made_harder_are_as_many_as_the_plan_says(arguments: dict[str, Any]) -> None:
    made = data("digits", **arguments)
    samples = CATALOGUE["data", "digits"].samples
    assert samples is not None
    assert len(made) == samples(arguments)
    if arguments == {"imbalance": 20}:
        assert torch.bincount(made.tensors[1]).tolist() == [142, 146, 142, 146, 145, 8, 8, 8, 7, 8]
