"""The order of an epoch: each sample once, a function of (seed, epoch), from any position, without memory."""

from __future__ import annotations

import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.worker.data.order import RANDPERM_MAX, ROUNDS, Feistel, Order
from launcher.worker.data.portions import Cut, Epochs
from launcher.worker.randomness import hash64

KEYS = tuple(range(11, 11 + ROUNDS))


@given(n=st.integers(1, 5000), seed=st.integers(0, 2**63 - 1), epoch=st.integers(0, 10**6))
@settings(max_examples=50)
def test_every_epoch_is_a_permutation(n: int, seed: int, epoch: int) -> None:
    order = Order(n, seed)
    assert sorted(order.samples(epoch, 0, n).tolist()) == list(range(n))


@given(n=st.integers(1, 3000))
@settings(max_examples=50)
def test_the_network_for_large_sets_is_a_permutation_too(n: int) -> None:
    assert sorted(Feistel(n, KEYS)(np.arange(n)).tolist()) == list(range(n))


@pytest.mark.parametrize("n", [1000, RANDPERM_MAX + 12_345])
def test_any_position_gives_what_a_walk_from_the_start_gives(n: int) -> None:
    whole = Order(n, 5).samples(3, 0, n)
    for start, stop in ((0, 7), (n - 9, n), (n // 3, n // 3 + 500), (n // 2, n // 2)):
        assert np.array_equal(Order(n, 5).samples(3, start, stop), whole[start:stop])
    assert np.array_equal(np.sort(whole), np.arange(n))


def test_seeds_and_epochs_have_orders_of_their_own() -> None:
    orders = {tuple(Order(50, seed).samples(epoch, 0, 50)) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_the_order_never_changes_between_versions() -> None:
    assert Order(8, 1).samples(0, 0, 8).tolist() == [7, 6, 4, 2, 0, 1, 5, 3]
    assert Order(RANDPERM_MAX * 4, 1).samples(0, 0, 4).tolist() == [1829010, 1794816, 1538663, 1373647]


def test_all_orders_of_four_are_equally_likely() -> None:
    draws = 24 * 200
    seen = Counter(
        tuple(Feistel(4, tuple(hash64(seed, number) for number in range(ROUNDS)))(np.arange(4)).tolist()) for seed in range(draws)
    )
    assert len(seen) == 24
    chi_square = sum((count - 200) ** 2 / 200 for count in seen.values())
    assert chi_square < 60  # 23 degrees of freedom: above 50 once in a thousand


def test_a_thousand_million_samples_take_no_memory() -> None:
    tracemalloc.start()
    Order(10**9, 1).samples(0, 5 * 10**8, 5 * 10**8 + 128)
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()


@given(samples=st.integers(1, 300), world_size=st.integers(1, 7), micro=st.integers(1, 40))
@settings(max_examples=200)
def test_every_rank_takes_as_many_micro_steps_and_each_sample_is_somebodys(samples: int, world_size: int, micro: int) -> None:
    cuts = [Cut(batch_size=samples, micro_batch_size=micro, rank=rank, world_size=world_size) for rank in range(world_size)]
    pieces = [cut.pieces(samples) for cut in cuts]
    assert len({len(each) for each in pieces}) == 1
    assert [position for each in pieces for first, stop in each for position in range(first, stop)] == list(range(samples))
    assert max(stop - first for each in pieces for first, stop in each) <= micro


@given(n=st.integers(1, 200), size=st.integers(1, 50), world_size=st.integers(1, 5), drop_last=st.booleans())
@settings(max_examples=100)
def test_an_epoch_is_the_same_samples_at_any_world_size(n: int, size: int, world_size: int, drop_last: bool) -> None:
    def ids(rank: int, ranks: int, batch: int) -> list[int]:
        cut = Cut(batch_size=size, micro_batch_size=7, rank=rank, world_size=ranks)
        epochs = Epochs(order=Order(n, 2), cut=cut, drop_last=drop_last)
        return [int(sample) for part in epochs.portion(4, batch).ids for sample in part]

    steps = n // size if drop_last else -(-n // size)
    for batch in range(steps):
        assert [sample for rank in range(world_size) for sample in ids(rank, world_size, batch)] == ids(0, 1, batch)
