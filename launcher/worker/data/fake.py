"""Random inputs and classes of any size, for trying things out."""

from __future__ import annotations

import torch
from torch.utils.data import TensorDataset


def fake_data(*, samples: int = 1000, shape: list[int] = [3, 32, 32], num_classes: int = 10, seed: int = 0) -> TensorDataset:  # noqa: B006
    """Standard normal inputs (samples, *shape) in float32 and uniform classes in int64, a function of the arguments."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(samples, *shape, generator=generator)
    return TensorDataset(inputs, torch.randint(num_classes, (samples,), generator=generator))
