"""Data sets, models and losses as a user would write them."""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from launcher.spec.target import Target
from launcher.worker.targets import built


def classes(*, samples: int, features: int = 6, ignored: bool = False) -> TensorDataset:
    """5 classes; every third target ignored where asked."""
    generator = torch.Generator().manual_seed(samples)
    targets = torch.randint(5, (samples,), generator=generator)
    if ignored:
        targets[::3] = -100
    return TensorDataset(torch.randn(samples, features, generator=generator), targets)


def rare(*, samples: int, features: int = 6) -> TensorDataset:
    """Every fifth sample is of class 1, the others of class 0."""
    inputs = torch.randn(samples, features, generator=torch.Generator().manual_seed(samples))
    return TensorDataset(inputs, (torch.arange(samples) % 5 == 0).long())


def numbers(*, samples: int, features: int = 6) -> TensorDataset:
    generator = torch.Generator().manual_seed(samples)
    return TensorDataset(torch.randn(samples, features, generator=generator), torch.randn(samples, 5, generator=generator))


def marks(*, samples: int, features: int = 6) -> TensorDataset:
    """5 marks for each sample, 0 or 1."""
    inputs, targets = numbers(samples=samples, features=features).tensors
    return TensorDataset(inputs, (targets > 0).float())


class AnyInput(nn.Module):
    """Takes inputs of any shape; 10 outputs that depend on them by their mean, and one where numbers are wanted."""

    def __init__(self, outputs: int = 10) -> None:
        super().__init__()
        self.linear = nn.Linear(1, outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.linear(inputs.float().flatten(1).mean(1, keepdim=True))  # type: ignore[no-any-return]


class Rows(nn.Module):
    """Images (N, 1, H, W) read row by row by a recurrent network of the catalogue."""

    def __init__(self, *, of: dict[str, Any]) -> None:
        super().__init__()
        self.network = built("model", Target.model_validate(of), "train.model")

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images[:, 0])  # type: ignore[no-any-return]


class Ending(nn.Sequential):
    """6 features, 5 outputs through a layer of torch.nn that some losses want there."""

    def __init__(self, *, by: str) -> None:
        last = nn.LogSoftmax(1) if by == "LogSoftmax" else getattr(nn, by)()
        super().__init__(nn.Linear(6, 5), last)


class Noisy(Dataset[Any]):
    """An item draws from every default generator, and says which sample it is."""

    def __init__(self, samples: int = 40) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        drawn = [float(index), torch.rand(()).item(), random.random(), float(np.random.rand())]
        return torch.tensor([*drawn, 0.0, 0.0]), index % 5


class Mappings(Noisy):
    """Items that are mappings; the model's forward names what it wants of them."""

    def __getitem__(self, index: int) -> dict[str, Any]:  # type: ignore[override]
        features, target = super().__getitem__(index)
        return {"features": features, "sample": index, "target": target}


class OfFeatures(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 5)

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(features)  # type: ignore[no-any-return]


class Raising(Noisy):
    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if index == 37:
            raise OSError("the disk ate it")
        return super().__getitem__(index)


class Ragged(Noisy):
    """Sequences of 3 to 6 steps with 6 features, and a class for each, or `labels`: sequences of 1 or 2 classes."""

    def __init__(self, samples: int = 8, *, labels: bool = False) -> None:
        super().__init__(samples)
        self.labels = labels

    def __getitem__(self, index: int) -> Any:
        sequence = torch.full((3 + index % 4, 6), float(index))
        return sequence, torch.arange(1, 2 + index % 2) if self.labels else index % 5


class Stream(IterableDataset[Any]):
    def __init__(self, samples: int = 23) -> None:
        self.samples = samples

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        for index in range(self.samples):
            yield torch.tensor([float(index), torch.rand(()).item(), 0.0, 0.0, 0.0, 0.0]), index % 5


class Spoilt(Noisy):
    """Sample 11 is not a number."""

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        features, target = super().__getitem__(index)
        return (features * torch.nan if index == 11 else features), target


def weighted_mean(output: Tensor, target: Tensor) -> Tensor:
    return nn.functional.mse_loss(output, target)


def f1_of_all(output: Tensor, target: Tensor) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(target.numpy(), output.argmax(1).numpy(), average="macro"))


def place_of_each(output: Tensor, target: Tensor) -> float:
    """Another number for another order."""
    return float((output.argmax(1) * torch.arange(len(output))).sum() + target.cumsum(0).sum())


class OfRank:
    """As far as the worker knows it a torchmetrics object, which draws: another number on each rank."""

    def __init__(self) -> None:
        self._defaults: dict[str, Any] = {}
        self._reductions: dict[str, Any] = {}
        self._update_count = 0

    def nothing(self, *_: Any) -> None:
        pass

    reset = update = to = nothing

    def compute(self) -> float:
        return float(os.environ["RANK"])


class PartlyUnused(nn.Module):
    """A head that nothing depends on."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.forgotten = nn.Linear(6, 5), nn.Linear(6, 3)

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(features)  # type: ignore[no-any-return]


class NoEmptyBatch(nn.Module):
    """Instance norm does not take a batch of no samples."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(6, 10), nn.InstanceNorm1d(5)

    def forward(self, features: Tensor) -> Tensor:
        return self.norm(self.linear(features).view(-1, 5, 2)).square().sum(2) + self.linear(features)[:, :5]  # type: ignore[no-any-return]


def broken_gradient(output: Tensor, target: Tensor) -> Tensor:
    """Finite, with a gradient of inf * 0."""
    return nn.functional.cross_entropy(output, target) + (output * 0).sum().sqrt()


class OfCounted(nn.Module):
    """A mean over the targets that count, with its weight and without a total: of none it is NaN."""

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(output, target)

    def weight(self, batch: Any) -> Tensor:
        return (batch[1] != -100).sum()


class OwnNorm(nn.BatchNorm1d):
    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features)


class WithBatchNorm(nn.Sequential):
    """With a batch norm of the user's own, or one without running statistics."""

    def __init__(self, *, own: bool) -> None:
        norm = OwnNorm(8) if own else nn.BatchNorm1d(8, track_running_stats=False)
        super().__init__(nn.Linear(6, 8), norm, nn.Linear(8, 5))

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features)  # type: ignore[no-any-return]


class Viewed(nn.Module):
    """Convolutions and norms; a batch of no samples cannot be viewed with -1."""

    def __init__(self, *, tracking: bool = True) -> None:
        super().__init__()
        norms = [nn.BatchNorm1d(4, track_running_stats=tracking) for _ in range(2)]
        self.body = nn.Sequential(nn.Conv1d(1, 4, 3), norms[0], nn.Tanh(), nn.Conv1d(4, 4, 3), norms[1], nn.Tanh())
        self.head = nn.Linear(8, 5)

    def forward(self, features: Tensor) -> Tensor:
        found = self.body(features[:, None])
        return self.head(found.view(found.size(0), -1))  # type: ignore[no-any-return]


class Looked(nn.Module):
    """A table with sparse gradients, looked up by the first feature."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.EmbeddingBag(9, 8, sparse=True), nn.Linear(8, 5)

    def forward(self, features: Tensor) -> Tensor:
        return self.head(self.table(features[:, :1].abs().clamp(max=8).long()))  # type: ignore[no-any-return]


class EveryOther(nn.Module):
    """A parameter that takes part in every other call, the first one included."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.more, self.calls = nn.Linear(6, 5), nn.Parameter(torch.zeros(5)), 0

    def forward(self, features: Tensor) -> Tensor:
        self.calls += 1
        return self.linear(features) + (self.more if self.calls % 2 else 0.0)  # type: ignore[no-any-return]


class Averaging(nn.Module):
    """Its forward puts another tensor in the place of its buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("average", torch.zeros(6))

    def forward(self, features: Tensor) -> Tensor:
        self.average = (self.average + features.mean(0)) / 2
        return features - self.average


class Remembering(nn.Module):
    """What it saw in evaluation has a part in training; its extra state is no tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.seen = nn.Linear(6, 5), torch.ones(6)

    def forward(self, features: Tensor) -> Tensor:
        if not self.training:
            self.seen = features.mean(0)
        return nn.functional.linear(features, self.linear.weight * self.seen)

    def get_extra_state(self) -> dict[str, int]:
        return {"version": 1}

    def set_extra_state(self, state: dict[str, int]) -> None:
        assert state == {"version": 1}


def scaled(output: Tensor, target: Tensor, *, by: float) -> Tensor:
    return nn.functional.cross_entropy(output, target) * by


scaled.weight = lambda batch: len(batch[0])  # type: ignore[attr-defined]


class Sequences(Dataset[Any]):
    """Sequences of 1 to 7 steps, with what nobody should see behind them."""

    def __init__(self, samples: int = 37) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: int) -> dict[str, Any]:
        steps, drawn = 1 + index * 3 % 7, torch.randn(7, 4, generator=torch.Generator().manual_seed(index))
        drawn[steps:] = 1e3
        return {"input": drawn, "input_lengths": steps, "target": index % 5}


def of_sequences(output: Tensor, batch: dict[str, Tensor]) -> Tensor:
    return nn.functional.cross_entropy(output, batch["target"])


def every_other(dataset: Any, seed: int, epoch: int) -> list[int]:
    """A sampling of one's own."""
    return list(range((seed + epoch) % 2, len(dataset), 2))


def one_too_many(dataset: Any, seed: int, epoch: int) -> list[int]:
    return list(range(len(dataset) + 1))


def imbalanced_digits(*, rare: int, split: str = "train") -> TensorDataset:
    """The digits, of 0 to 4 each `rare` of the training part."""
    from launcher.worker.data.digits import digits

    images, classes = digits(split=split, flatten=True).tensors
    if split != "train":
        return TensorDataset(images, classes)
    kept = torch.cat([(classes == kind).nonzero()[: rare if kind < 5 else None, 0] for kind in range(10)]).sort().values
    return TensorDataset(images[kept], classes[kept])


class Lagging(OfFeatures):
    """On rank 1 it takes its time; it tells so by Python's logging."""

    def forward(self, features: Tensor) -> Tensor:
        logging.getLogger("my.model").info("forward of %d samples", len(features))
        if os.environ.get("RANK") == "1":
            time.sleep(0.2)
        return super().forward(features)


def pictures(samples: int = 30, classes: int = 3, side: int = 8) -> TensorDataset:
    """Pixels from 0 to 1."""
    generator = torch.Generator().manual_seed(1)
    return TensorDataset(torch.rand(samples, 3, side, side, generator=generator), torch.arange(samples) % classes)


class Slow(Noisy):
    """Every item takes 10 ms."""

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        time.sleep(0.01)
        return torch.ones(6), index % 5


class SlowOnEachRank(OfFeatures):
    """A process that reads for it is never late, on a busy machine neither."""

    def forward(self, features: Tensor) -> Tensor:
        time.sleep(0.1)
        return super().forward(features)


class SlowOnRankOne(OfFeatures):
    def forward(self, features: Tensor) -> Tensor:
        time.sleep(0.5 if os.environ.get("RANK") == "1" else 0.0)
        return super().forward(features)


def rows_of_digits(*, split: str = "train") -> TensorDataset:
    """Each digit as a sequence of its 8 rows, three times over."""
    from launcher.worker.data.digits import digits

    images, classes = digits(split=split).tensors
    return TensorDataset(images[:, 0].repeat(1, 3, 1), classes)
