"""What a step does to the layers of a network: norms of gradient, weights and update, and units that answer 0 to every sample.

Looked at on the steps that `log.gradients` names, and kept on the device until their row is written: other steps cost nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from launcher.rundir import RunDir
from launcher.spec.log import Log
from launcher.worker.cadence import Cadence, cadence
from launcher.worker.histograms import Histograms, make_histograms
from launcher.worker.world import World

CUT_OFF = (nn.ReLU, nn.ReLU6, nn.Threshold, nn.Hardswish, nn.Hardsigmoid)
"""Activations that are 0 over a half-line: a unit that lies there for every sample gets no gradient."""
ROOT = "model"
"""The group of parameters that belong to no layer."""


class Norms(NamedTuple):
    """Of a parameter in the newest step that was looked at."""

    name: str
    shape: tuple[int, ...]
    gradient: float
    weight: float
    update: float


@dataclass
class Layers:
    model: nn.Module
    every: Cadence | None = None
    histograms: Histograms | None = None
    step: int = 0
    """The newest that was looked at."""
    looking: bool = False
    counting: bool = True
    """Whether the samples at hand are the step's, and not some that stand in for none."""
    norms: list[Tensor] = field(default_factory=list)
    """Of every parameter that learns: gradient, weight, update."""
    alive: dict[str, Tensor] = field(default_factory=dict)
    """By activation: which units were not 0 for some sample of this rank."""
    before: list[Tensor] = field(default_factory=list)

    @property
    def named(self) -> dict[str, nn.Parameter]:
        return {name: each for name, each in self.model.named_parameters() if each.requires_grad}

    @contextmanager
    def units(self, step: int, epochs_ended: int | None) -> Iterator[None]:
        """Around forward and backward of a step: decides whether it is looked at."""
        if self.histograms is not None:
            self.histograms.decide(step, epochs_ended)
        self.looking = self.every is not None and self.every.due(step, epochs_ended)
        if not self.looking:
            yield
            return
        self.step, self.alive = step, {}
        cut_off = [(name, module) for name, module in self.model.named_modules() if isinstance(module, CUT_OFF)]
        hooks = [module.register_forward_hook(self.heeding(name)) for name, module in cut_off]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def heeding(self, name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            if output.ndim > 1:
                found = (some_not_zero(output.detach()) & self.counting).to(self.device)
                earlier = self.alive.get(name)
                self.alive[name] = found if earlier is None or earlier.shape != found.shape else earlier | found

        return hook

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def gradients(self) -> None:
        """Before the update, of gradients that are unscaled and not yet clipped."""
        if self.histograms is not None and self.histograms.looking:
            self.histograms.take(self.named)
        if not self.looking:
            return
        parameters = list(self.named.values())
        grads = [torch.zeros((), device=each.device) if each.grad is None else dense(each.grad) for each in parameters]
        self.before = [each.detach().clone() for each in parameters]
        self.norms = [*foreach_norm(grads), *foreach_norm(self.before)]

    def updates(self) -> None:
        """After it."""
        torch._foreach_sub_(self.before, [each.detach() for each in self.named.values()])
        self.norms += foreach_norm(self.before)
        self.before = []

    def by_parameter(self) -> list[Norms]:
        """Waits for the device."""
        values = torch.stack([each.double() for each in self.norms]).tolist()
        named, count = self.named, len(self.named)
        columns = zip(values[:count], values[count : 2 * count], values[2 * count :], strict=True)
        return [Norms(name, tuple(each.shape), *of) for (name, each), of in zip(named.items(), columns, strict=True)]

    def row(self, world: World) -> dict[str, float]:
        """What a row says of the step, by group, in the order of the layers. A collective; waits for the device."""
        found = self.by_parameter()
        groups = [group_of(each.name.rpartition(".")[0]) for each in found]
        grad, weight, update = (
            together(groups, norms)
            for norms in ([each.gradient for each in found], [each.weight for each in found], [each.update for each in found])
        )
        dead = self.dead(world)
        return {
            **{f"grad/{group}": value for group, value in grad.items()},
            **{f"weight/{group}": value for group, value in weight.items()},
            **{f"update/{group}": value / weight[group] if weight[group] else 0.0 for group, value in update.items()},
            **{f"dead/{group}": value for group, value in dead.items()},
        }

    def dead(self, world: World) -> dict[str, float]:
        """Shares of each group's units that were 0 for every sample of all ranks."""
        merged: dict[str, Tensor] = {}
        for of_rank in world.gather({name: alive.cpu() for name, alive in self.alive.items()}):
            for name, alive in of_rank.items():
                earlier = merged.get(name, alive)
                merged[name] = earlier | alive if earlier.shape == alive.shape else earlier
        groups: dict[str, list[Tensor]] = defaultdict(list)
        for name, alive in merged.items():
            groups[group_of(name)].append(alive)
        return {group: 1.0 - float(torch.cat(alive).double().mean()) for group, alive in groups.items()}


def make_layers(run: RunDir, model: nn.Module, log: Log, per_epoch: int | None, total: int | None, *, first: bool) -> Layers:
    every = log.gradients and cadence(log.gradients, per_epoch=per_epoch, total=total, field="log.gradients")
    return Layers(model, every or None, make_histograms(run, log, per_epoch, total) if first else None)


def some_not_zero(output: Tensor) -> Tensor:
    """By unit: a channel of images, else the last axis."""
    unit = 1 if output.ndim > 3 else output.ndim - 1
    return (output != 0).transpose(0, unit).flatten(1).any(1)


def group_of(path: str) -> str:
    """Of a module: its first two names, or three where the third is the first to be numbered; one where it has no more."""
    parts = path.split(".")
    kept = next((count for count in (2, 3) if len(parts) >= count and parts[count - 1][-1].isdigit()), 2)
    return ".".join(parts[:kept]) or ROOT


def together(names: Sequence[str], norms: Sequence[float]) -> dict[str, float]:
    """Norms of groups from those of their parameters."""
    squares: dict[str, float] = defaultdict(float)
    for name, norm in zip(names, norms, strict=True):
        squares[name] += norm * norm
    return {name: square**0.5 for name, square in squares.items()}


def foreach_norm(tensors: list[Tensor]) -> list[Tensor]:
    """In float64: what has all but vanished would be nothing when squared in float32."""
    return list(torch._foreach_norm(tensors, 2, torch.float64))


def dense(gradient: Tensor) -> Tensor:
    return gradient.coalesce().values() if gradient.is_sparse else gradient
