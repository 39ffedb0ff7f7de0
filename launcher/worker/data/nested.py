"""Batches are tensors in mappings, tuples and lists: what is done to each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence


def mapped(batch: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The batch with every tensor changed; what is none stays as it is."""
    match batch:
        case Tensor():
            return change(batch)
        case Mapping():
            return {key: mapped(value, change) for key, value in batch.items()}
        case PackedSequence():  # whose batch_sizes stay on the host
            orders = {name: getattr(batch, name) for name in ("sorted_indices", "unsorted_indices")}
            moved = {name: change(order) for name, order in orders.items() if order is not None}
            return batch._replace(data=change(batch.data), **moved)
        case tuple() if hasattr(batch, "_fields"):
            return type(batch)(*(mapped(value, change) for value in batch))
        case tuple():
            return tuple(mapped(value, change) for value in batch)
        case list():
            return [mapped(value, change) for value in batch]
    return batch


def tensors(batch: Any) -> Iterator[Tensor]:
    match batch:
        case Tensor():
            yield batch
        case Mapping():
            for value in batch.values():
                yield from tensors(value)
        case tuple() | list():
            for value in batch:
                yield from tensors(value)


def emptied(batch: Any) -> Any:
    """A batch of no samples, otherwise like this one."""
    return mapped(batch, lambda tensor: tensor[:0] if tensor.ndim else tensor)


def on_device(batch: Any, device: torch.device, dtype: torch.dtype | None) -> Any:
    """`dtype`: of floating tensors; None leaves theirs."""
    if device.type == "cpu" and dtype is None:
        return batch

    def moved(tensor: Tensor) -> Tensor:
        wanted = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
        return tensor.to(device, wanted, non_blocking=True)

    return mapped(batch, moved)


def described(batch: Any) -> str:
    """Dtypes and shapes, for a message."""
    match batch:
        case Tensor():
            return f"{str(batch.dtype).removeprefix('torch.')} {list(batch.shape)}"
        case Mapping():
            return "{" + ", ".join(f"{key}: {described(value)}" for key, value in batch.items()) + "}"
        case tuple() | list():
            return "(" + ", ".join(described(value) for value in batch) + ")"
    return type(batch).__name__
