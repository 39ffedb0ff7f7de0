"""Batches of items of different lengths."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import default_collate


class Pad:
    """A mapping with `input` (samples, longest, ...), `input_lengths`, `target`, and `target_lengths` for sequences of targets.

    Items that are mappings keep their own keys. How far a batch is padded depends on which samples it holds, and so on the number
    of ranks: a network has to heed the lengths.
    """

    def __init__(self, *, value: float = 0.0, target_value: int = -100) -> None:
        self.value, self.target_value = value, target_value

    def __call__(self, items: list[Any]) -> dict[str, Any]:
        rows = [item if isinstance(item, Mapping) else {"input": item[0], "target": item[1]} for item in items]
        batch: dict[str, Any] = {}
        for key in rows[0]:
            batch |= self.column(key, [row[key] for row in rows])
        return batch

    def column(self, key: str, values: list[Any]) -> dict[str, Any]:
        if isinstance(values[0], (str, Mapping)) or not torch.as_tensor(values[0]).ndim:
            return {key: default_collate(values)}
        tensors = list(map(torch.as_tensor, values))
        filler = self.target_value if "target" in key else self.value
        lengths = torch.tensor([len(tensor) for tensor in tensors])
        return {key: pad_sequence(tensors, batch_first=True, padding_value=filler), f"{key}_lengths": lengths}


def default() -> Callable[[list[Any]], Any]:
    return default_collate
