"""A moving average of the weights beside those that learn: torch.optim.swa_utils' formula, after every optimizer step.

The average begins with the weights of the first step. Buffers, such as batch norm's statistics, are those of the model itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from launcher.spec.ema import Ema as Settings
from launcher.worker.errors import WorkerError


class Ema:
    """The average of one model's weights; empty until the first step."""

    def __init__(self, model: nn.Module, settings: Settings) -> None:
        self.settings = settings
        named = model.named_parameters()
        self.weights = {name: parameter for name, parameter in named if parameter.is_floating_point()}
        self.average: dict[str, Tensor] = {}
        self.move = get_ema_multi_avg_fn(settings.decay)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def update(self) -> None:
        """After a step."""
        if not self.average:
            self.average = {name: weight.detach().clone() for name, weight in self.weights.items()}
        else:
            self.move([*self.average.values()], [*self.weights.values()], 1)

    def over(self, model: nn.Module) -> dict[str, Tensor]:
        """The model's state_dict with the averages in it; empty before the first step."""
        if not self.average:
            return {}
        averages = {id(weight): self.average[name] for name, weight in self.weights.items()}
        state = model.state_dict(keep_vars=True)
        return {key: averages.get(id(value), value) for key, value in state.items() if isinstance(value, Tensor)}

    def fill(self, model: nn.Module, stored: Mapping[str, Tensor]) -> None:
        """From what over() gave. Raises WorkerError where it does not fit."""
        keys = {id(value): key for key, value in model.state_dict(keep_vars=True).items()}
        try:
            averages = {name: stored[keys[id(weight)]].to(weight.device, copy=True) for name, weight in self.weights.items()}
        except KeyError as error:
            raise WorkerError(f"the checkpoint has no average of {error}, which the model has", kind="spec") from None
        self.average = averages


@contextmanager
def in_place(ema: Ema | None) -> Iterator[None]:
    """The averages stand where the weights were, where the job says that it is they who are evaluated; then bit for bit back."""
    if ema is None or not ema.settings.evaluate or not ema.average:
        yield
        return
    exchange(ema)
    try:
        yield
    finally:
        exchange(ema)


@torch.no_grad()
def exchange(ema: Ema) -> None:
    """One at a time, so that it takes the memory of one more weight."""
    for name, weight in ema.weights.items():
        kept = weight.detach().clone()
        weight.copy_(ema.average[name])
        ema.average[name].copy_(kept)
