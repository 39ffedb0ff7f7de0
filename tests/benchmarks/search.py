"""The search beside bare Optuna: overhead per trial on an objective of 1 ms, and the best value after N trials.

python tests/benchmarks/search.py [SEEDS]      (10 for the full number)

Reach: <= 1.2x per trial with the same sampler and the same kind of journal; values within the band of Optuna used directly, tpe
and gp ahead of random. Branin (Dixon and Szego 1978) and Hartmann-6 as in Surjanovic and Bingham's virtual library; a small
network on digits, whose val/loss after two epochs is a function of rate, momentum, weight decay and width.
"""

from __future__ import annotations

import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from paired import in_turn, report

from launcher.search.objective import search_function
from launcher.search.space import distributions, integers_of
from launcher.search.study import sampler
from launcher.spec.sweep import Sweep

ALPHA = (1.0, 1.2, 3.0, 3.2)
A = ((10, 3, 17, 3.5, 1.7, 8), (0.05, 10, 17, 0.1, 8, 14), (3, 3.5, 1.7, 10, 17, 8), (17, 8, 0.05, 10, 0.1, 14))
P = (
    (0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886), (0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991),
    (0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650), (0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381),
)  # fmt: skip


def branin(x: float, y: float) -> float:
    return (y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6) ** 2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


def hartmann6(**x: float) -> float:
    at = [x[f"x{i}"] for i in range(6)]
    inner = [sum(a * (v - p) ** 2 for a, v, p in zip(row, at, centre, strict=True)) for row, centre in zip(A, P, strict=True)]
    return -sum(alpha * math.exp(-each) for alpha, each in zip(ALPHA, inner, strict=True))


@cache
def digits() -> tuple[Any, Any, Any, Any]:
    import torch
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    torch.set_num_threads(1)
    inputs, classes = load_digits(return_X_y=True)
    parts = train_test_split(inputs / 16, classes, test_size=360, random_state=0, stratify=classes)
    return tuple(torch.tensor(part, dtype=torch.long if part.ndim == 1 else torch.float32) for part in parts)  # type: ignore[return-value]


def network(lr: float, momentum: float, decay: float, width: int) -> float:
    """Cross-entropy on the held-out part; a loss that is not finite counts as that of a network that says nothing."""
    import torch

    torch.manual_seed(0)
    inputs, held_out, classes, truth = digits()
    model = torch.nn.Sequential(torch.nn.Linear(64, width), torch.nn.ReLU(), torch.nn.Linear(width, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum, weight_decay=decay)
    for _ in range(2):
        for batch in torch.randperm(len(inputs)).split(64):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(inputs[batch]), classes[batch]).backward()
            optimizer.step()
    with torch.no_grad():
        loss = float(torch.nn.functional.cross_entropy(model(held_out), truth))
    return loss if math.isfinite(loss) else math.log(10)


NETWORK = {
    "lr": {"min": 1e-4, "max": 1.0, "log": True},
    "momentum": {"min": 0.0, "max": 0.99},
    "decay": {"min": 1e-6, "max": 1e-1, "log": True},
    "width": {"min": 8, "max": 128},
}
FUNCTIONS: dict[str, tuple[Callable[..., float], dict[str, Any]]] = {
    "branin": (branin, {"x": {"min": -5.0, "max": 10.0}, "y": {"min": 0.0, "max": 15.0}}),
    "hartmann6": (hartmann6, {f"x{i}": {"min": 0.0, "max": 1.0} for i in range(6)}),
    "network": (network, NETWORK),
}


def sweep_of(method: str, trials: int, parameters: dict[str, Any]) -> Sweep:
    given = {"method": method, "metric": "f", "goal": "minimize", "trials": trials, "parameters": parameters}
    return Sweep.model_validate(given)


def ours(function: Callable[..., float], sweep: Sweep, seed: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        return float(search_function(function, sweep, seed=seed, name="f", folder=Path(folder)).best_value)


def bare(function: Callable[..., float], sweep: Sweep, seed: int, *, journal: bool = False) -> float:
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/journal"
        storage = JournalStorage(JournalFileBackend(path, lock_obj=JournalFileOpenLock(path))) if journal else None
        study = optuna.create_study(storage=storage, sampler=sampler(sweep.method, seed), direction="minimize")
        spaces = distributions(sweep, integers_of(sweep))
        for _ in range(sweep.trials or 0):
            trial = study.ask(spaces)
            study.tell(trial, function(**trial.params))
        return float(study.best_value)


def slow(**_: float) -> float:
    time.sleep(0.001)
    return 1.0


def seconds_of(call: Callable[[], float]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def overhead() -> None:
    for method in ("random", "tpe"):
        sweep = sweep_of(method, 100, FUNCTIONS["hartmann6"][1])
        mine = partial(seconds_of, partial(ours, slow, sweep, 1))
        theirs = partial(seconds_of, partial(bare, slow, sweep, 1, journal=True))
        report(f"{method}: 100 trials of 1 ms", *in_turn(mine, theirs, pairs=6), ("launcher", "bare Optuna, same journal"))


def values(seeds: int) -> None:
    for name, (function, parameters) in FUNCTIONS.items():
        for method in ("random", "tpe", "gp"):
            sweep = sweep_of(method, 40, parameters)
            mine = [ours(function, sweep, seed) for seed in range(seeds)]
            theirs = [bare(function, sweep, seed) for seed in range(seeds)]
            within = "within" if min(theirs) <= statistics.median(mine) <= max(theirs) else "OUTSIDE"
            print(f"{name:<10} {method:<7} best of 40: launcher {banded(mine)}; optuna {banded(theirs)}; {within}", flush=True)


def banded(found: list[float]) -> str:
    """Median, quartiles, extremes."""
    low, middle, high = statistics.quantiles(found, n=4)
    return f"{middle:.4f} [{low:.4f} .. {high:.4f}] ({min(found):.4f} .. {max(found):.4f})"


def main() -> None:
    overhead()
    values(int(sys.argv[1]) if len(sys.argv) > 1 else 3)


main()
