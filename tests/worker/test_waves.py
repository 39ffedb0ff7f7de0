from __future__ import annotations

import pytest
import torch

from launcher.worker.data.waves import SHAPES, Waves, wave
from launcher.worker.errors import WorkerError


def test_a_wave_is_a_function_of_its_seed_split_and_place() -> None:
    waves, again, others = Waves(samples=40), Waves(samples=40), Waves(samples=40, split="val")
    for index in (3, 0, 39):
        sequence, shape = waves[index]
        assert torch.equal(again[index][0], sequence)
        assert shape == index % 4
        assert others[index][0].shape != sequence.shape or not torch.equal(others[index][0], sequence)
    lengths = {len(waves[index][0]) for index in range(40)}
    assert 20 <= min(lengths) < max(lengths) <= 60


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_differ_in_nothing_else(shape: str) -> None:
    whole = wave(shape, torch.arange(10_000) / 10_000)
    assert float(whole.mean()) == pytest.approx(0, abs=2e-3)
    assert float(whole.var()) == pytest.approx(0.5, abs=2e-3)


def test_lengths_the_wrong_way_round_are_refused() -> None:
    with pytest.raises(WorkerError, match="the shortest first"):
        Waves(steps=(60, 20))
