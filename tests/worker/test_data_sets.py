"""Built-in data sets: what an item is, how they are split, and what is said of files that are not as they should be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn import datasets as sklearn_sets
from torch.utils.data import Subset, TensorDataset

from launcher.spec.target import Target
from launcher.worker.data import tables
from launcher.worker.data.classes import balanced_weights, classes_of, counts_of
from launcher.worker.errors import WorkerError
from launcher.worker.targets import built
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
