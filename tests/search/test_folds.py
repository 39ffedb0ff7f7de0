"""Folds of data sets of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.model_selection import KFold, StratifiedKFold
from torch.utils.data import Dataset, TensorDataset

from launcher.worker.data.folds import classes, fold, indices

COUNT = 12


class Items(Dataset[Any]):
    targets: Any

    def __init__(self, item: Callable[[int], Any]) -> None:
        self.item = item

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> Any:
        return self.item(index)


X = torch.zeros(3)
STRATIFIED = {
    "a mapping": lambda i: {"input": X, "target": torch.tensor(i % 2)},
    "a mapping of another known name": lambda i: {"input": X, "label": i % 2},
    "negative": lambda i: (X, -1 if i % 2 else 1),
    "huge": lambda i: (X, (i % 2) * 10**15),
    "of bool": lambda i: (X, bool(i % 2)),
}
PLAIN = {
    "fractions": lambda i: (X, i / 7),
    "a mapping of other names": lambda i: {"pixels": X, "digit": i % 2},
    "of many lengths": lambda i: (X, torch.zeros(i + 1, dtype=torch.long)),
    "no target": lambda i: X,
    "all different": lambda i: (X, i * 10**15),
}


@pytest.mark.parametrize("name", STRATIFIED)
def test_targets_that_are_classes_are_stratified(name: str) -> None:
    theirs = StratifiedKFold(3, shuffle=True, random_state=0).split(np.zeros(COUNT), np.arange(COUNT) % 2)
    assert_same(indices(classes(Items(STRATIFIED[name])), COUNT, 3), theirs)


@pytest.mark.parametrize("name", PLAIN)
def test_others_are_divided_evenly(name: str) -> None:
    theirs = KFold(3, shuffle=True, random_state=0).split(np.zeros(COUNT))
    assert_same(indices(classes(Items(PLAIN[name])), COUNT, 3), theirs)


@pytest.mark.parametrize("targets", [[i % 2 for i in range(COUNT)], torch.arange(COUNT) % 2])
def test_classes_that_a_data_set_keeps_are_not_read_from_its_items(targets: Any) -> None:
    def unread(index: int) -> Any:
        raise AssertionError(f"sample {index} is read")

    images = Items(unread)
    images.targets = targets
    found = classes(images)
    assert found is not None
    assert found.tolist() == [i % 2 for i in range(COUNT)]


def test_targets_of_many_lengths_that_a_data_set_keeps_are_no_classes() -> None:
    boxes = Items(lambda i: (X, i))
    boxes.targets = [[0] * (i + 1) for i in range(COUNT)]
    assert classes(boxes) is None


def assert_same(ours: Any, theirs: Any) -> None:
    assert [[part.tolist() for part in both] for both in ours] == [[part.tolist() for part in both] for both in theirs]


def mine(*, normalize: bool) -> TensorDataset:
    """`normalize` is this function's own affair."""
    return TensorDataset(torch.full((COUNT, 1), 5.0 if normalize else 1.0), torch.arange(COUNT) % 2)


def test_arguments_of_a_data_set_of_the_users_own_are_left_alone() -> None:
    part = fold(of={"target": f"{__name__}:mine", "normalize": True}, fold=0, folds=3, split="val")
    assert part[0][0].item() == 5.0
