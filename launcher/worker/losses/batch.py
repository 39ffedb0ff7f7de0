"""What a built-in loss or metric finds in a batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from launcher.worker.errors import WorkerError

TARGET_KEYS = ("target", "targets", "label", "labels", "y")
"""Where it looks in a batch that is a mapping."""
INPUT_LENGTHS, TARGET_LENGTHS = "input_lengths", "target_lengths"
"""Of sequences that are padded to one length; without them every one is whole."""


def target_of(batch: Any) -> Any:
    """What a built-in loss or metric compares with. Raises WorkerError where a mapping does not say."""
    if not isinstance(batch, Mapping):
        return batch[1]
    for key in TARGET_KEYS:
        if key in batch:
            return batch[key]
    raise WorkerError(
        f"a built-in loss or metric finds its target under one of {', '.join(TARGET_KEYS)}; "
        f"the items of the data have {', '.join(batch)}",
        kind="spec",
    )


def lengths_of(batch: Any, name: str, sequences: Tensor) -> Tensor:
    """(N,) in int64 of `sequences` (N, longest, ...)."""
    given = batch.get(name) if isinstance(batch, Mapping) else None
    if given is None:
        return torch.full((len(sequences),), sequences.shape[1], dtype=torch.int64, device=sequences.device)
    return torch.as_tensor(given, dtype=torch.int64, device=sequences.device)
