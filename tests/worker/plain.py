"""Training as one would write it by hand for one process, the whole batch at once; it knows torch and nothing of launcher.

The nets and sets here are also what the jobs of these tests name, as a user's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn, optim
from torch.optim import SGD, Adam, AdamW, Optimizer, lr_scheduler
from torch.utils.data import Dataset, IterableDataset

Row = dict[str, Any]

FEATURES, CLASSES, VALIDATED = 6, 5, 23
CLASS_WEIGHTS = [0.2, 1.0, 3.0, 0.5, 0.1]


def drawn(samples: int, kind: str) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(samples)
    inputs = torch.randn(samples, FEATURES, generator=generator)
    targets = torch.randint(CLASSES, (samples,), generator=generator)
    if kind == "ignored":
        targets[1::3] = -100
    return inputs, F.one_hot(targets, CLASSES).float() if kind == "vectors" else targets


class Pairs(Dataset[Any]):
    """Items are (input, target); targets are `classes`, classes with some `ignored`, or `vectors`."""

    def __init__(self, samples: int, kind: str = "classes") -> None:
        self.inputs, self.targets = drawn(samples, kind)

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> Any:
        return self.inputs[index], self.targets[index]


class Mappings(Pairs):
    def __getitem__(self, index: int) -> Any:
        return {"id": index, "label": self.targets[index], "features": self.inputs[index]}


class Stream(IterableDataset[Any]):
    def __init__(self, samples: int, kind: str = "classes") -> None:
        self.pairs = Pairs(samples, kind)

    def __iter__(self) -> Iterator[Any]:
        return (self.pairs[index] for index in range(len(self.pairs)))


class Net(nn.Module):
    def __init__(self, *, norm: bool = False) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(FEATURES, 8, bias=not norm), nn.Linear(8, CLASSES)
        self.norm: nn.Module = nn.BatchNorm1d(8) if norm else nn.Identity()
        self.more()

    def more(self) -> None:
        """What a kind of net has beside it."""

    def forward(self, features: Tensor) -> Tensor:
        return self.last(torch.tanh(self.norm(self.first(features))))  # type: ignore[no-any-return]


class Dropping(Net):
    def forward(self, features: Tensor) -> Tensor:
        return super().forward(F.dropout(features, 0.3, self.training))


class Frozen(Net):
    def more(self) -> None:
        self.first.weight.requires_grad_(False)


class Unused(Net):
    def more(self) -> None:
        self.forgotten = nn.Linear(3, 3)


class Tied(Net):
    def more(self) -> None:
        self.inner = nn.Linear(8, 8)
        self.again = self.inner

    def forward(self, features: Tensor) -> Tensor:
        return self.last(torch.tanh(self.again(torch.tanh(self.inner(self.first(features))))))  # type: ignore[no-any-return]


class Scaling(Net):
    """With a buffer that is saved, and one that is not."""

    scale: Tensor
    shift: Tensor

    def more(self) -> None:
        self.register_buffer("scale", torch.linspace(0.5, 1.5, FEATURES))
        self.register_buffer("shift", torch.linspace(-0.5, 0.5, FEATURES), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features * self.scale + self.shift)


class Routed(Net):
    """Which parameters take part depends on the samples: on a rank and in a step it may be either, both or none."""

    def more(self) -> None:
        self.rare = nn.Linear(FEATURES, CLASSES)

    def forward(self, features: Tensor) -> Tensor:
        output = super().forward(features)
        rare = features[:, 0] > 1.2
        return output.index_add(0, rare.nonzero()[:, 0], self.rare(features[rare])) if rare.any() else output


def of_mapping(output: Tensor, batch: dict[str, Tensor]) -> Tensor:
    return F.cross_entropy(output, batch["label"])


class OfCounted:
    """Class weights and ignored targets, with the sum of weights that its mean is over."""

    def __init__(self) -> None:
        self.weights = torch.tensor(CLASS_WEIGHTS, dtype=torch.float64)

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        if not (target >= 0).any():
            return output.sum() * 0
        return F.cross_entropy(output, target, weight=self.weights.to(output.dtype))

    def weight(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        target = batch[1]
        return self.weights[target[target >= 0]].sum()


def falling(step: int, total_steps: int, *, floor: float) -> float:
    return max(floor, 1 - step / total_steps)


def of_those_that_count(loss: Callable[[Tensor, Tensor], Tensor], output: Tensor, target: Tensor) -> Tensor:
    return loss(output, target) if bool((target >= 0).any()) else output.sum() * 0


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": F.cross_entropy,
    "smoothed": lambda output, target: F.cross_entropy(output, target, label_smoothing=0.1),
    "weights": lambda output, target: F.cross_entropy(output, target, weight=torch.tensor(CLASS_WEIGHTS, dtype=output.dtype)),
    "own": OfCounted(),
    "function": partial(of_those_that_count, F.cross_entropy),
    "nll": partial(of_those_that_count, F.nll_loss),
    "mse": lambda output, target: F.mse_loss(output, target.to(output.dtype)),
    "l1": lambda output, target: F.l1_loss(output, target.to(output.dtype)),
    "bce": lambda output, target: F.binary_cross_entropy_with_logits(output, target.to(output.dtype)),
}

OPTIMIZERS: dict[str, tuple[type[Optimizer], dict[str, Any]]] = {
    "sgd": (SGD, {"lr": 0.2}),
    "nesterov": (SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.05}),
    "dampened": (SGD, {"lr": 0.3, "momentum": 0.8, "dampening": 0.5}),
    "adam": (Adam, {"lr": 0.02, "betas": [0.8, 0.95], "weight_decay": 0.02}),
    "adamw": (AdamW, {"lr": 0.03, "weight_decay": 0.2, "amsgrad": True}),
    "nadam": (optim.NAdam, {"lr": 0.02, "momentum_decay": 0.01, "decoupled_weight_decay": True, "weight_decay": 0.1}),
    "radam": (optim.RAdam, {"lr": 0.05, "weight_decay": 0.01}),
    "adamax": (optim.Adamax, {"lr": 0.03, "eps": 1e-6}),
    "rmsprop": (optim.RMSprop, {"lr": 0.01, "alpha": 0.9, "momentum": 0.5, "centered": True}),
    "adagrad": (optim.Adagrad, {"lr": 0.1, "lr_decay": 0.01, "initial_accumulator_value": 0.1}),
    "adadelta": (optim.Adadelta, {"lr": 0.7, "rho": 0.8}),
    "asgd": (optim.ASGD, {"lr": 0.1, "lambd": 0.01, "t0": 3.0}),
    "rprop": (optim.Rprop, {"lr": 0.01, "etas": [0.4, 1.3]}),
    "adafactor": (optim.Adafactor, {"lr": 0.1, "weight_decay": 0.01}),
}

SCHEDULES: dict[str, Callable[[Optimizer, int], lr_scheduler.LRScheduler]] = {
    "constant": lambda optimizer, steps: lr_scheduler.ConstantLR(optimizer, 1.0),
    "cosine": lr_scheduler.CosineAnnealingLR,
    "linear": lambda optimizer, steps: lr_scheduler.LinearLR(optimizer, 1.0, 0.25, steps),
    "step": lambda optimizer, steps: lr_scheduler.StepLR(optimizer, 4, 0.5),
    "restarts": lambda optimizer, steps: lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 2, 2, 0.01),
    "polynomial": lambda optimizer, steps: lr_scheduler.PolynomialLR(optimizer, steps, 2.0),
    "milestones": lambda optimizer, steps: lr_scheduler.MultiStepLR(optimizer, [2, 5], 0.3),
    "exponential": lambda optimizer, steps: lr_scheduler.StepLR(optimizer, 5, 0.6),
    "cycle": lambda optimizer, steps: lr_scheduler.OneCycleLR(
        optimizer, optimizer.param_groups[0]["lr"], steps, cycle_momentum=False
    ),
    "own": lambda optimizer, steps: lr_scheduler.LambdaLR(optimizer, lambda step: falling(step, steps, floor=0.3)),
}


@dataclass(frozen=True, kw_only=True)
class Plain:
    """A training: what it is of, and how long."""

    seed: int
    samples: int
    batch: int
    steps: int
    kind: str = "classes"
    net: str = "Net"
    norm: bool = False
    loss: str = "cross_entropy"
    optimizer: str = "sgd"
    schedule: str = "constant"
    warmup: int = 0
    clip_norm: float | None = None
    clip_value: float | None = None

    def rates(self) -> list[float]:
        """The learning rate of each step."""
        lr = OPTIMIZERS[self.optimizer][1]["lr"]
        optimizer = SGD([nn.Parameter(torch.zeros(()))], lr=lr)
        schedule = SCHEDULES[self.schedule](optimizer, self.steps - self.warmup)
        found = [lr * (step + 1) / self.warmup for step in range(self.warmup)]
        while len(found) < self.steps:
            found.append(schedule.get_last_lr()[0])
            optimizer.step()
            schedule.step()
        return found

    def train(self, order: Callable[[int], list[int]], dtype: torch.dtype = torch.float64) -> tuple[nn.Module, list[Row]]:
        """The trained net, and the loss, rate and validation of each step. `order`: the samples of an epoch."""
        inputs, targets = drawn(self.samples, self.kind)
        torch.manual_seed(self.seed)
        net: nn.Module = globals()[self.net](norm=self.norm).to(dtype)
        kind, settings = OPTIMIZERS[self.optimizer]
        optimizer = kind([parameter for parameter in net.parameters() if parameter.requires_grad], **settings)
        rows, per_epoch = [], math.ceil(self.samples / self.batch)
        for step, rate in enumerate(self.rates()):
            of_epoch, number = divmod(step, per_epoch)
            ids = order(of_epoch)[number * self.batch : (number + 1) * self.batch]
            loss = LOSSES[self.loss](net(inputs[ids].to(dtype)), targets[ids])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            norm = self.clip(net)
            optimizer.param_groups[0]["lr"] = rate
            optimizer.step()
            rows.append(
                {
                    "epoch": round((step + 1) / per_epoch, 6),
                    "train/loss": loss.item(),
                    "lr": rate,
                    "grad_norm": norm,
                    **self.validated(net, dtype),
                }
            )
        return net, rows

    def clip(self, net: nn.Module) -> float | None:
        """The norm of the gradient as it was, where it is clipped by norm."""
        norm = nn.utils.clip_grad_norm_(net.parameters(), self.clip_norm).item() if self.clip_norm is not None else None
        if self.clip_value is not None:
            nn.utils.clip_grad_value_(net.parameters(), self.clip_value)
        return norm

    @torch.no_grad()
    def validated(self, net: nn.Module, dtype: torch.dtype) -> Row:
        inputs, targets = drawn(VALIDATED, self.kind)
        output = net.eval()(inputs.to(dtype))
        net.train()
        return {"val/loss": LOSSES[self.loss](output, targets).item()}
