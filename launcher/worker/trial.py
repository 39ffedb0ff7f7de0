"""What several ranks have to know of a model before its gradients are synchronised, found out with two samples.

Whether its output depends on every parameter, and whether it takes a batch of no samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from launcher.rundir import RunDir
from launcher.worker.data.loader import Loader
from launcher.worker.data.nested import emptied, on_device, tensors
from launcher.worker.ddp import call_model, kept_buffers, put_back, unused
from launcher.worker.randomness import seed_default_generators
from launcher.worker.world import World

SAMPLES = 2


@dataclass(frozen=True, kw_only=True)
class Trial:
    some_unused: bool = False
    takes_no_samples: bool = True


def try_out(
    run: RunDir, model: nn.Module, inputs: tuple[str, ...], loader: Loader, world: World, dtype: torch.dtype | None
) -> Trial:
    """A collective with one answer for all ranks; the model is left as it was. Errors are left to the first step to tell."""
    if world.world_size == 1:
        return Trial()
    kept = kept_buffers(model)
    batch = on_device(loader.some(SAMPLES), world.device, dtype)
    seed_default_generators(0)
    unused_here = bool(unused(model, run_forward(model, inputs, batch))) or run.unused_parameters.exists()
    fails_here = not backward_of_no_samples(model, inputs, emptied(batch))
    put_back(kept)
    model.zero_grad()
    unused_somewhere, fails_somewhere = world.sum([float(unused_here), float(fails_here)])
    return Trial(some_unused=unused_somewhere > 0, takes_no_samples=not fails_somewhere)


def run_forward(model: nn.Module, inputs: tuple[str, ...], batch: Any) -> Any:
    try:
        return call_model(model, inputs, batch)
    except Exception:
        return sum(parameter.sum() for parameter in model.parameters())


def backward_of_no_samples(model: nn.Module, inputs: tuple[str, ...], batch: Any) -> bool:
    """Whether it works: InstanceNorm and PixelShuffle's backward do not."""
    try:
        sums = [tensor.sum() for tensor in tensors(call_model(model, inputs, batch))]
        torch.stack(sums).sum().backward()  # type: ignore[no-untyped-call]
    except Exception:
        return False
    return True
