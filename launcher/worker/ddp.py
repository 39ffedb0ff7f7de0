"""Gradients over ranks: torch's DistributedDataParallel, the same sums at every step and after every restart.

DDP lays out its buckets anew after its first backward, in the order in which the gradients came. That changes the order of
summation, so that from 3 ranks on a resumed training would differ from an undisturbed one in the last bits. Here every attempt
does so before its first step. `find_unused_parameters=True` would keep the first layout, but costs a collective per step (a fifth
of a 3 ms step), so that it is set only where a parameter is not part of the model's output.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from launcher.rundir import RunDir, write_json
from launcher.worker.data.nested import tensors
from launcher.worker.errors import WorkerError
from launcher.worker.replicas import replicated
from launcher.worker.world import World

FIRST_THAT_NOTICE = 3
"""Ranks: a + b is b + a."""


def lay_out_buckets(wrapped: DistributedDataParallel) -> None:
    """Once for the whole attempt, by gradients of nothing: the last parameter's comes first, as it mostly does in a step.

    A collective. Until it is done the reducer notes each gradient of every step for it, 16 bytes that it would never free.
    """
    parameters, sparse = wrapped._build_params_for_reducer()  # type: ignore[no-untyped-call]
    wrapped.reducer.prepare_for_forward()
    wrapped.reducer.prepare_for_backward([])
    for parameter, is_sparse in reversed(list(zip(parameters, sparse, strict=True))):
        layout = torch.sparse_coo if is_sparse else torch.strided
        torch.autograd.backward(parameter, torch.zeros_like(parameter, layout=layout))
    wrapped.zero_grad()
    wrapped.reducer._rebuild_buckets()


def wrap(accelerator: Accelerator, model: nn.Module, world: World, *, parallel: str, some_unused: bool) -> nn.Module:
    """The model with precision and gradient synchronisation around it. Raises WorkerError for several ranks without any."""
    if parallel != "ddp" and world.world_size > 1:
        raise WorkerError(
            f"train.parallel: '{parallel}' trains in one process, and there are {world.world_size} ranks. Start one, or write "
            "parallel: ddp",
            kind="spec",
        )
    if world.world_size > 1:
        accelerator.ddp_handler.find_unused_parameters = some_unused
    with warnings.catch_warnings():
        # Newer torch has another name for broadcast_buffers, unknown to 2.7, under which rank 0's are copied at the start.
        warnings.filterwarnings("ignore", message=".*broadcast_buffers", category=FutureWarning)
        wrapped: nn.Module = accelerator.prepare_model(model)
    if isinstance(wrapped, DistributedDataParallel) and world.world_size >= FIRST_THAT_NOTICE and not some_unused:
        lay_out_buckets(wrapped)
    return replicated(accelerator, wrapped, world) if parallel == "data_parallel" else wrapped


def call_model(model: nn.Module, inputs: tuple[str, ...], batch: Any) -> Any:
    if isinstance(batch, Mapping):
        return model(**{name: batch[name] for name in inputs if name in batch})
    return model(batch[0])


def unused(model: nn.Module, output: Any) -> list[str]:
    """Names of the parameters that learn and that `output` does not depend on."""
    reached = set(leaves(tensors(output)))
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad and id(parameter) not in reached]


def leaves(outputs: Iterable[Tensor]) -> Iterable[int]:
    """Identities of the parameters in the graphs of the outputs."""
    waiting = [output.grad_fn for output in outputs if output.grad_fn is not None]
    seen = set(waiting)
    while waiting:
        node = waiting.pop()
        if hasattr(node, "variable"):
            yield id(node.variable)
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                waiting.append(following)


def check_all_took_part(run: RunDir, wrapped: nn.Module, parameters: Iterable[nn.Parameter], step: int) -> None:
    """After a backward that reckoned with all parameters. Raises WorkerError where one had no part: this step's sums are void.

    The next attempt looks for unused parameters at every step.
    """
    if any(parameter.grad is None for parameter in parameters) or not reduced(wrapped):
        write_json(run.unused_parameters, {"step": step})
        raise WorkerError(
            f"at step {step} a parameter of train.model took no part, though at first all did. The next attempt goes on from the "
            "newest checkpoint and looks for such parameters at every step",
            kind="error",
        )


def reduced(wrapped: nn.Module) -> bool:
    """Whether all gradients were added up over ranks: not where a parameter had a part in earlier micro-steps alone."""
    if not isinstance(wrapped, DistributedDataParallel):
        return True
    try:
        wrapped._check_reducer_finalized()  # type: ignore[no-untyped-call]
    except RuntimeError:
        return False
    return True


@dataclass(frozen=True)
class KeptBuffer:
    """A module's buffer, which its forward may change in place or put another tensor in the place of."""

    module: nn.Module
    name: str
    buffer: Tensor | None
    value: Tensor | None


def kept_buffers(model: nn.Module) -> list[KeptBuffer]:
    return [
        KeptBuffer(module, name, buffer, None if buffer is None else buffer.clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
    ]


@torch.no_grad()
def put_back(kept: list[KeptBuffer]) -> None:
    for each in kept:
        each.module._buffers[each.name] = each.buffer
        if each.buffer is not None and each.value is not None:
            each.buffer.copy_(each.value)
