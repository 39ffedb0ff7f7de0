"""Where a rank's time goes: what is written to timings.jsonl."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from launcher.worker.world import World


@dataclass
class Clock:
    """Seconds since the last row."""

    began: float = field(default_factory=time.monotonic)
    data_s: float = 0.0
    evaluation_s: float = 0.0
    checkpoint_s: float = 0.0
    steps: int = 0
    samples: int = 0

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            setattr(self, what, getattr(self, what) + time.monotonic() - began)

    def stepped(self, samples: int) -> None:
        self.steps += 1
        self.samples += samples

    @property
    def training_s(self) -> float:
        """Without evaluation and checkpoints."""
        return max(1e-9, time.monotonic() - self.began - self.evaluation_s - self.checkpoint_s)

    def own(self, compute_s: float) -> list[float]:
        """This rank's step, waiting and computing times, to be brought together with the loss."""
        return [self.training_s / max(1, self.steps), self.data_s / self.training_s, compute_s]

    def row(self, by_rank: list[list[float]], device: torch.device) -> dict[str, Any]:
        return {
            "samples_per_s": round(self.samples / self.training_s, 2),
            "step_s": [round(step_s, 6) for step_s, _, _ in by_rank],
            "data_share": [round(share, 4) for _, share, _ in by_rank],
            "compute_s": [round(compute_s, 6) for _, _, compute_s in by_rank],
            "checkpoint_s": round(self.checkpoint_s, 6),
            "evaluation_s": round(self.evaluation_s, 6),
            "memory_mb": memory_mb(device),
        }


def memory_mb(device: torch.device) -> float:
    """Most that was in use so far: of the GPU, or of this process."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 1e6, 1)
    import resource

    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, 1)


def one_hot(own: list[float], world: World) -> list[float]:
    """A vector in which each rank fills its own place, so that one sum brings all of them to all."""
    vector = [0.0] * (len(own) * world.world_size)
    vector[len(own) * world.rank : len(own) * (world.rank + 1)] = own
    return vector
