"""Activation checkpointing: blocks of the model keep their inputs alone, and are computed anew in the backward pass.

The gradient is the same bit for bit: dropout draws the same masks again, and batch norm's running statistics, which the second
forward would move once more, stay as the first left them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial, wraps
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from launcher.worker.errors import WorkerError

CONTAINERS = (nn.Sequential, nn.ModuleList)


def recompute_blocks(model: nn.Module) -> None:
    """Raises WorkerError where the model has no blocks."""
    whole, chains = blocks(model)
    for block in whole:
        block.forward = wraps(block.forward)(partial(recomputed, block.forward, [block]))
    for chain in chains:
        chain.forward = wraps(chain.forward)(partial(run_segments, segments(chain)))  # type: ignore[method-assign]
    if not whole and not chains:
        raise WorkerError(
            "train.activation_checkpointing: train.model has no blocks. They are looked for in its nn.Sequential and "
            "nn.ModuleList; put the repeated parts of your model into one",
            kind="spec",
        )


def blocks(model: nn.Module) -> tuple[list[nn.Module], list[nn.Sequential]]:
    """The modules in the outermost containers, and the containers that are chains of single layers."""
    whole: list[nn.Module] = []
    chains: list[nn.Sequential] = []
    for module in [model] if isinstance(model, CONTAINERS) else model.children():
        if not isinstance(module, CONTAINERS):
            inner = blocks(module)
            whole, chains = whole + inner[0], chains + inner[1]
        elif type(module) is nn.Sequential and all(is_layer(child) for child in module):
            chains += [module] if len(segments(module)) > 1 else []
        else:
            for child in module:
                nested = blocks(child) if isinstance(child, CONTAINERS) and has_blocks(child) else ([], [])
                whole += nested[0] or ([] if nested[1] or not learns(child) else [child])
                chains += nested[1]
    return whole, chains


def has_blocks(container: nn.Module) -> bool:
    return any(not is_layer(child) for child in container.children())


def is_layer(module: nn.Module) -> bool:
    return next(module.children(), None) is None


def learns(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def segments(chain: nn.Sequential) -> list[list[nn.Module]]:
    """As many as give the least memory, each beginning with a layer that learns."""
    starts = [number for number, layer in enumerate(chain) if learns(layer)][:: max(1, round(math.sqrt(count(chain))))]
    ends = [*starts[1:], len(chain)]
    return [list(chain[start if number else 0 : end]) for number, (start, end) in enumerate(zip(starts, ends, strict=True))]


def count(chain: nn.Sequential) -> int:
    return sum(map(learns, chain))


def run_segments(parts: Sequence[Sequence[nn.Module]], value: Any) -> Any:
    *first, last = parts
    for part in first:
        value = recomputed(partial(run, part), part, value)
    return run(last, value)


def run(layers: Sequence[nn.Module], value: Any) -> Any:
    for layer in layers:
        value = layer(value)
    return value


def recomputed(forward: Callable[..., Any], modules: Sequence[nn.Module], *given: Any, **named: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*given, **named)
    if torch.compiler.is_compiling():  # a compiled graph changes its buffers once
        return checkpoint(forward, *given, use_reentrant=False, **named)
    return checkpoint(forward, *given, use_reentrant=False, context_fn=partial(contexts, modules), **named)


def contexts(modules: Sequence[nn.Module]) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Of the first forward and of the second."""
    return nullcontext(), buffers_kept(modules)


@contextmanager
def buffers_kept(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Copies stand in for the buffers: writing to these and back would be a change that autograd refuses."""
    inner = [module for each in modules for module in each.modules() if module._buffers]
    kept = [dict(module._buffers) for module in inner]
    for module in inner:
        module._buffers.update({name: None if value is None else value.clone() for name, value in module._buffers.items()})
    try:
        yield
    finally:
        for module, buffers in zip(inner, kept, strict=True):
            module._buffers.update(buffers)
