"""Histograms of weights and gradients, and the model's graph: what TensorBoard's event files have beside the rows.

Rank 0 leaves both in tensorboard/, where the views' process, which knows no torch, takes them from.
"""

from __future__ import annotations

import copy
import json
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from launcher.rundir import RunDir, json_lines, write_atomic
from launcher.spec.log import Log, Tensorboard
from launcher.worker.cadence import Cadence, cadence
from launcher.worker.data.nested import on_device

BINS = 64


@dataclass
class Histograms:
    run: RunDir
    every: Cadence
    step: int = 0
    """The newest that they are of."""
    begun: bool = False
    looking: bool = False

    def decide(self, step: int, epochs_ended: int | None) -> None:
        self.looking = self.every.due(step, epochs_ended)
        self.step = step if self.looking else self.step

    def take(self, named: Mapping[str, nn.Parameter]) -> None:
        """Before the update. Waits for the device."""
        row = {
            "step": self.step,
            "weights": {name: counted(each.detach()) for name, each in named.items()},
            "gradients": {name: counted(each.grad) for name, each in named.items() if each.grad is not None},
        }
        path = self.run.histograms
        if not self.begun:
            # Those of an earlier attempt that its checkpoint does not cover come again.
            kept = [each for each in json_lines(path) if each["step"] < self.step]
            write_atomic(path, "".join(f"{json.dumps(each)}\n" for each in kept))
            self.begun = True
        with path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def counted(tensor: Tensor) -> dict[str, Any]:
    """Values that are no finite numbers are left out."""
    values = tensor.cpu().to_dense().float().flatten()  # histc is refused on a GPU under train.deterministic
    values = values[values.isfinite()]
    if not values.numel():
        return {"low": 0.0, "high": 0.0, "sum": 0.0, "squares": 0.0, "counts": []}
    low, high = values.aminmax()
    counts = torch.histc(values, BINS, min=float(low), max=float(high))
    total, squares = values.double().sum(), values.double().square().sum()
    return {"low": float(low), "high": float(high), "sum": float(total), "squares": float(squares), "counts": counts.tolist()}


def make_histograms(run: RunDir, log: Log, per_epoch: int | None, total: int | None) -> Histograms | None:
    wanted = log.tensorboard.histograms if isinstance(log.tensorboard, Tensorboard) else None
    if wanted is None:
        return None
    return Histograms(run, cadence(wanted, per_epoch=per_epoch, total=total, field="log.tensorboard.histograms"))


class Called(nn.Module):
    """A model that is called with its inputs by place."""

    def __init__(self, model: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *given: Any) -> Any:
        return self.model(**dict(zip(self.names, given, strict=True))) if self.names else self.model(*given)


def draw_graph(
    run: RunDir, log: Log, model: nn.Module, inputs: tuple[str, ...], some: Callable[[], Any], dtype: torch.dtype | None
) -> None:
    """Once in a run, where the job asks for it. A model that cannot be traced is told of: the training goes on."""
    path = run.graph
    if not isinstance(log.tensorboard, Tensorboard) or not log.tensorboard.graph or path.exists():
        return
    from torch.utils.tensorboard._pytorch_graph import graph

    traced = copy.deepcopy(model).eval()
    for module in traced.modules():
        if "ranks" in vars(module):
            vars(module)["ranks"] = 1  # batch norm without the other ranks, which do not trace
    batch = on_device(some(), next(model.parameters()).device, dtype)
    names = tuple(name for name in inputs if name in batch) if isinstance(batch, Mapping) else ()
    given = tuple(batch[name] for name in names) if names else (batch[0],)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            description, _ = graph(  # type: ignore[no-untyped-call]
                Called(traced, names) if names else traced, given, False
            )
    except Exception as error:
        print(
            f"log.tensorboard.graph: the model cannot be traced ({type(error).__name__}): no graph", file=sys.stderr, flush=True
        )
        return
    write_atomic(path, description.SerializeToString())
