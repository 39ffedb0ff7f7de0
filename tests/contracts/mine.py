"""A user's own code, as the tests put it beside a job file: it knows torch and nothing of launcher."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset, IterableDataset


class Numbers(Dataset[dict[str, Any]]):
    """Items are mappings."""

    def __init__(self, samples: int, seed: int = 0) -> None:
        self.features = torch.randn(samples, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).float()
        self.labels = (self.features.sum(1) > 0).long()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"features": self.features[index], "label": self.labels[index], "id": index}


class Stream(IterableDataset[dict[str, Any]]):
    def __init__(self, samples: int) -> None:
        self.numbers = Numbers(samples)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self.numbers[index] for index in range(len(self.numbers)))


class Pairs(Numbers):
    """Items are (input, target)."""

    def __getitem__(self, index: int) -> Any:
        return self.features[index], self.labels[index]


def pairs(samples: int) -> Pairs:
    return Pairs(samples)


class Net(nn.Module):
    def __init__(self, width: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.body = nn.Linear(4, width)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(width, 2)

    def forward(self, features: Tensor) -> Tensor:
        if Path("slow").exists():
            time.sleep(0.5)
        scores: Tensor = self.head(self.drop(torch.tanh(self.body(features))))
        return scores


class Failing(Net):
    """Raises in its forward pass number `at` of this process, on the rank `on`."""

    def __init__(self, width: int, at: int, on: str = "0") -> None:
        super().__init__(width)
        self.at, self.on, self.calls = at, on, 0

    def forward(self, features: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == self.at and os.environ["RANK"] == self.on:
            raise ValueError("the user's own mistake")  # FAILS HERE
        return super().forward(features)


def loss(output: Tensor, batch: dict[str, Any]) -> Tensor:
    if torch.is_grad_enabled():
        with Path(f"seen-{os.environ.get('RANK', '0')}.jsonl").open("a") as seen:
            seen.write(json.dumps(batch["id"].tolist()) + "\n")
    return functional.cross_entropy(output, batch["label"])


def scaled_loss(output: Tensor, batch: dict[str, Any], *, times: float) -> Tensor:
    return times * functional.cross_entropy(output, batch["label"])


class Scaled:
    """A class is constructed with the arguments that a function is bound with."""

    def __init__(self, times: float) -> None:
        self.times = times

    def __call__(self, output: Tensor, batch: dict[str, Any]) -> Tensor:
        return scaled_loss(output, batch, times=self.times)


class OnlyFew:
    """A mean over some of the samples only; `weight` says over how many."""

    def __init__(self, below: int) -> None:
        self.below = below

    def __call__(self, output: Tensor, batch: dict[str, Any]) -> Tensor:
        counted = batch["id"] < self.below
        return functional.cross_entropy(output[counted], batch["label"][counted]) if counted.any() else output.sum() * 0

    def weight(self, batch: dict[str, Any]) -> Tensor:
        return torch.sum(batch["id"] < self.below)


def optimizer(parameters: Any, *, rate: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=rate)


def falling(step: int, total_steps: int, *, floor: float) -> float:
    return max(floor, 1 - step / total_steps)


def shifted(items: list[dict[str, Any]], *, by: float) -> dict[str, Any]:
    return {
        "features": torch.stack([item["features"] for item in items]) + by,
        "label": torch.stack([item["label"] for item in items]),
        "id": torch.tensor([item["id"] for item in items]),
    }
