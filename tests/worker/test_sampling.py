"""Sampling: the draws are those of their distribution, a function of (seed, epoch), and the same at any world size and start."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest
from torch.utils.data import TensorDataset

from launcher.spec.target import Target
from launcher.worker.data.order import Blockwise
from launcher.worker.data.portions import Cut, Epochs
from launcher.worker.data.quotas import permuted
from launcher.worker.data.sampling import make_sampling
from launcher.worker.data.weighted import TOGETHER, Weighted, WeightedOnce, uniform
from launcher.worker.errors import WorkerError
from tests.worker import sets

RARE = [0] * 200 + [1] * 60 + [2] * 10
"""Classes, 20 : 6 : 1."""


def imbalanced(classes: list[int] = RARE) -> TensorDataset:
    return TensorDataset(torch.arange(len(classes), dtype=torch.float32)[:, None], torch.tensor(classes))


def sampling(name: str, dataset: Any = None, seed: int = 5, **arguments: Any) -> Blockwise:
    return make_sampling(Target(target=name, **arguments), imbalanced() if dataset is None else dataset, seed)


def epoch(order: Blockwise, number: int = 0) -> list[int]:
    return order.samples(number, 0, order.n).tolist()


def by_class(samples: list[int], classes: list[int] = RARE) -> list[int]:
    found = Counter(classes[sample] for sample in samples)
    return [found[kind] for kind in range(3)]


EVERY = [
    Target(target="weighted"), Target(target="weighted", num_samples=150, replacement=False), Target(target="balanced"),
    Target(target="oversample"), Target(target="undersample"), Target(target="tests.worker.sets:every_other"),
]  # fmt: skip


@pytest.mark.parametrize("target", EVERY, ids=lambda target: target.target)
@given(size=st.integers(1, 90), world_size=st.integers(1, 5), micro=st.integers(1, 40), number=st.integers(0, 3))
@settings(max_examples=15)
def test_the_draws_are_the_same_at_any_world_size_and_from_any_start(
    target: Target, size: int, world_size: int, micro: int, number: int
) -> None:
    alone = make_sampling(target, imbalanced(), 5)
    whole = epoch(alone, number)
    assert whole != epoch(alone, number + 1)
    seen = []
    for batch in range(-(-alone.n // size)):
        for rank in range(world_size):
            cut = Cut(batch_size=size, micro_batch_size=micro, rank=rank, world_size=world_size)
            anew = Epochs(order=make_sampling(target, imbalanced(), 5), cut=cut)  # as after a kill
            seen += [int(sample) for part in anew.portion(number, batch).ids for sample in part]
    assert seen == whole
    assert alone.at(number, np.array([3, 1])).tolist() == [whole[3], whole[1]]


def test_weighted_draws_have_the_distribution_of_their_weights() -> None:
    weights = np.array([1.0, 5, 1, 0, 2.5, 0.5] + [0.0] * 600 + [1.0] * 3)
    weights[TOGETHER - 1 : TOGETHER + 1] = 2.0, 3.0
    order = Weighted(weights, 200_000, 7)
    counts = np.bincount(epoch(order), minlength=len(weights))
    possible = weights > 0
    assert counts[~possible].sum() == 0
    assert chisquare(counts[possible], weights[possible] / weights.sum() * order.n).pvalue > 0.001
    heavy = np.array(epoch(order)) == 1
    assert np.mean(heavy[1:] & heavy[:-1]) == pytest.approx((weights[1] / weights.sum()) ** 2, rel=0.05)


def test_the_uniform_numbers_are_uniform() -> None:
    assert kstest(uniform(np.arange(100_000), 12345), "uniform").pvalue > 0.001


def test_without_weights_each_class_comes_equally_often_on_average() -> None:
    drawn = by_class([sample for number in range(100) for sample in epoch(sampling("weighted"), number)])
    assert chisquare(drawn).pvalue > 0.001


def test_weighted_draws_without_replacement_are_those_one_after_the_other() -> None:
    weights = np.array([1.0, 2, 3, 0, 4])
    order = WeightedOnce(weights, 2, 3)
    seen = Counter(tuple(order.samples(number, 0, 2).tolist()) for number in range(5000))
    total = weights.sum()
    pairs = [(a, b) for a in (0, 1, 2, 4) for b in (0, 1, 2, 4) if a != b]
    expected = [weights[a] / total * weights[b] / (total - weights[a]) for a, b in pairs]
    assert set(seen) <= set(pairs)
    assert chisquare([seen[pair] for pair in pairs], np.array(expected) * 5000).pvalue > 0.001


@pytest.mark.parametrize(("name", "wanted"), [("balanced", [90, 90, 90]), ("oversample", [200] * 3), ("undersample", [10] * 3)])
def test_quotas_are_exact_and_no_sample_comes_twice_before_all_of_its_class_came(name: str, wanted: list[int]) -> None:
    order = sampling(name)
    for number in range(3):
        drawn = epoch(order, number)
        assert by_class(drawn) == wanted
        for kind in range(3):
            times = Counter(sample for sample in drawn if RARE[sample] == kind)
            there = RARE.count(kind)
            assert set(times.values()) <= {wanted[kind] // there, -(-wanted[kind] // there)}
            assert len(times) == min(there, wanted[kind])


def test_which_samples_of_a_class_come_is_drawn_anew_and_fairly() -> None:
    order = sampling("undersample")
    seen = Counter(sample for number in range(400) for sample in epoch(order, number))
    assert chisquare([seen[sample] for sample in range(200)]).pvalue > 0.001
    assert chisquare([seen[sample] for sample in range(200, 260)]).pvalue > 0.001


@given(sizes=st.lists(st.integers(1, 70), min_size=1, max_size=8), key=st.integers(0, 2**64 - 1))
@settings(max_examples=60)
def test_every_class_is_permuted_with_a_width_of_its_own(sizes: list[int], key: int) -> None:
    places = np.concatenate([np.arange(size) for size in sizes])
    keys = np.repeat(np.arange(len(sizes), dtype=np.uint64) + np.uint64(key % 2**63), sizes)
    found = permuted(places, np.repeat(sizes, sizes), keys)
    ends = np.cumsum(sizes)
    assert [sorted(part.tolist()) for part in np.split(found, ends[:-1])] == [list(range(size)) for size in sizes]


def test_all_orders_of_a_class_of_four_are_equally_likely() -> None:
    draws = 24 * 200
    keys = np.repeat(np.arange(draws, dtype=np.uint64), 4)
    found = permuted(np.tile(np.arange(4), draws), np.full(draws * 4, 4), keys).reshape(draws, 4)
    assert chisquare(list(Counter(map(tuple, found.tolist())).values())).pvalue > 0.001


def test_weights_come_from_a_list_a_file_or_classes(tmp_path: Path) -> None:
    weights = [float(sample == 3) for sample in range(len(RARE))]
    np.save(tmp_path / "w.npy", np.array(weights, np.float32))
    (tmp_path / "w.txt").write_text("\n".join(map(str, weights)))
    for given_ in (weights, str(tmp_path / "w.npy"), str(tmp_path / "w.txt")):
        assert set(epoch(sampling("weighted", weights=given_))) == {3}
    assert by_class(epoch(sampling("weighted", class_weights=[0.0, 1.0, 0.0])))[1] == len(RARE)


@pytest.mark.parametrize(("arguments", "told"), [
    ({"weights": [1.0, 2.0]}, r"there are \(2,\) weights and 270 samples: one for each"),
    ({"weights": [1.0] * 269 + [-1.0]}, "the weight of sample 269 is -1.0; weights are numbers >= 0"),
    ({"weights": [0.0] * 270}, "every weight is 0"),
    ({"class_weights": [1.0, 1.0]}, "there are 2 class_weights and 3 classes, 0 to 2"),
    ({"weights": [1.0] * 270, "class_weights": [1.0] * 3}, "give one of them"),
    ({"weights": "no.npy"}, "there is no file no.npy"),
    ({"class_weights": [0.0, 0.0, 1.0], "replacement": False}, "270 draws without replacement, and 10 samples have a weight"),
])  # fmt: skip
def test_weights_that_do_not_fit_are_the_specs_mistake(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(WorkerError, match=told) as refused:
        sampling("weighted", **arguments)
    assert refused.value.kind == "spec"


def test_what_has_no_classes_or_numbers_is_refused() -> None:
    with pytest.raises(WorkerError, match=r"train.data.sampling wants the classes of train.data.train: a target is float32"):
        sampling("balanced", sets.numbers(samples=8))
    with pytest.raises(WorkerError, match=r"gives samples from 0 to 270, and there are 270"):
        sampling("tests.worker.sets:one_too_many")


def test_targets_that_are_ignored_never_come() -> None:
    drawn = epoch(sampling("balanced", imbalanced([-100, 0, 1, -100, 0])))
    assert sorted(set(drawn)) == [1, 2, 4]


def test_ignored_targets_weigh_nothing_and_need_no_class() -> None:
    dataset = TensorDataset(torch.zeros(6, 1), torch.tensor([0, -100, 1, 1, -100, 2]))
    order = make_sampling(Target(target="weighted"), dataset, 1)
    assert set(epoch(order)) <= {0, 2, 3, 5}


def test_weights_take_no_memory_beside_themselves() -> None:
    weights = np.ones(1 << 22, np.float32)
    tracemalloc.start()
    order = Weighted(weights, len(weights), 1)
    order.samples(0, 1 << 20, (1 << 20) + 128)
    assert tracemalloc.get_traced_memory()[1] < len(weights) * 4 + 40e6
    tracemalloc.stop()
    assert len(order.until) == len(weights) // TOGETHER
