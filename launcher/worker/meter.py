"""What the steps since the last row took of this rank itself, measured without waiting for the device.

A gradient is ready before the ranks' sum of it is: what the others take does not count, so that the one that holds them up shows.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

MOST_SPANS = 256
"""Kept on the device; by then the older half is over."""

Mark = Any
"""A moment: of the host's clock in seconds, or an event in the GPU's queue."""


@dataclass
class Meter:
    device: torch.device
    spans: list[tuple[Mark, Mark]] = field(default_factory=list)
    computed_s: float = 0.0
    ready: Mark = None
    """When the gradient that comes last was last there."""
    skipped: Tensor | float = 0.0
    """Steps that fp16's scaler left out."""

    def watch(self, model: nn.Module) -> None:
        """Of the first parameter that learns: its gradient comes last."""
        first = next((each for each in model.parameters() if each.requires_grad), None)
        if first is not None:
            first.register_post_accumulate_grad_hook(self.reached)  # type: ignore[no-untyped-call]

    def reached(self, _parameter: Tensor) -> None:
        self.ready = self.mark()

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Around a forward and its backward."""
        self.ready, began = None, self.mark()
        yield
        self.spans.append((began, self.mark() if self.ready is None else self.ready))
        if len(self.spans) > MOST_SPANS:
            self.fold(MOST_SPANS // 2)

    @contextmanager
    def updating(self, scaler: GradScaler) -> Iterator[None]:
        """Around a step of the scaler: it lowers its scale where it leaves a step out."""
        one = torch.ones((), device=self.device)
        before = scaler.scale(one)
        yield
        self.skipped += (scaler.scale(one) < before).float()

    def mark(self) -> Mark:
        if self.device.type != "cuda":
            return time.monotonic()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def fold(self, count: int) -> None:
        """Adds up the oldest spans. Waits for the device where they are not over."""
        for began, ended in self.spans[:count]:
            self.computed_s += ended - began if isinstance(began, float) else elapsed_s(began, ended)
        del self.spans[:count]

    def compute_s(self, steps: int) -> float:
        """Seconds a step."""
        self.fold(len(self.spans))
        return self.computed_s / max(1, steps)

    def row(self, scaler: GradScaler | None) -> dict[str, float]:
        """What a row says beside the times."""
        return {} if scaler is None else {"skipped_steps": int(self.skipped), "loss_scale": scaler.get_scale()}

    def restart(self) -> None:
        """A row is written."""
        self.computed_s, self.skipped = 0.0, 0.0


def elapsed_s(began: Any, ended: Any) -> float:
    ended.synchronize()
    return float(began.elapsed_time(ended)) / 1e3


def make_meter(model: nn.Module, device: torch.device) -> Meter:
    meter = Meter(device)
    meter.watch(model)
    return meter
