"""The worker's numbers are those of a plain loop over whole batches, for any spec, world, and interruption."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from launcher.rundir import RunDir
from launcher.spec.train import OptimizerTarget
from launcher.worker.data.order import Order
from launcher.worker.errors import WorkerError
from launcher.worker.job import read_job
from launcher.worker.losses import make_objective
from launcher.worker.optim import make_optimizer
from launcher.worker.train import train
from launcher.worker.world import joined
from tests.worker.plain import CLASS_WEIGHTS, OPTIMIZERS, VALIDATED, Plain
from tests.worker.worlds import a_job, on_ranks, run_of

SEED = 3
LOSSES: dict[str, Any] = {
    "smoothed": {"target": "cross_entropy", "label_smoothing": 0.1},
    "weights": {"target": "cross_entropy", "weight": CLASS_WEIGHTS},
    "own": "plain:OfCounted",
    "function": "torch.nn.functional:cross_entropy",
    "nll": "torch.nn:NLLLoss",
    "bce": "bce_with_logits",
}
SCHEDULES: dict[str, dict[str, Any]] = {
    "linear": {"target": "linear", "final": 0.25},
    "step": {"target": "step", "step_size": "4 steps", "gamma": 0.5},
    "own": {"target": "plain:falling", "floor": 0.3},
    "restarts": {"target": "cosine_restarts", "T_0": "2 steps", "T_mult": 2, "eta_min": 0.01},
    "polynomial": {"target": "polynomial", "power": 2},
    "milestones": {"target": "multi_step", "milestones": ["2 steps", "5 steps"], "gamma": 0.3},
    "exponential": {"target": "exponential", "gamma": 0.6},
    "cycle": {"target": "one_cycle", "cycle_momentum": False},
}
TARGETS = {"nesterov": "sgd", "dampened": "sgd"}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A training, and how it is cut up."""

    plain: Plain
    world: int
    then: int
    """The world in which it goes on after `stop` steps."""
    stop: int
    micro: int | str = "auto"
    workers: int = 0
    items: str = "Pairs"

    def job(self) -> dict[str, Any]:
        plain = self.plain
        described = a_job(
            model={"target": f"plain:{plain.net}", "norm": plain.norm},
            loss="plain:of_mapping" if self.items == "Mappings" else LOSSES.get(plain.loss, plain.loss),
            optimizer={"target": TARGETS.get(plain.optimizer, plain.optimizer), **OPTIMIZERS[plain.optimizer][1]},
            schedule={**SCHEDULES.get(plain.schedule, {"target": plain.schedule}), "warmup": f"{plain.warmup} steps"},
            data={"train": self.data(plain.samples), "val": self.data(VALIDATED), "batch_size": plain.batch,
                  "micro_batch_size": self.micro, "num_workers": self.workers},
            max_steps=plain.steps, evaluate_every="1 steps", precision="fp64",
            clip_grad_norm=plain.clip_norm, clip_grad_value=plain.clip_value,
        )  # fmt: skip
        kept = {"every": "1 steps", "keep_last": plain.steps}
        return described | {"log": {"every": "1 steps", "plots": False}, "checkpoint": kept}

    def data(self, samples: int) -> dict[str, Any]:
        return {"target": f"plain:{self.items}", "samples": samples, "kind": self.plain.kind}

    def order(self, epoch: int) -> list[int]:
        shuffled = self.items != "Stream"
        return Order(self.plain.samples, SEED, shuffle=shuffled).samples(epoch, 0, self.plain.samples).tolist()  # type: ignore[no-any-return]


def train_all(runs: Sequence[RunDir]) -> list[int]:
    """On a rank: trains each run in one world."""
    jobs = [read_job(run) for run in runs]
    with joined(jobs[0]) as world:
        return [train(run, job, world) for run, job in zip(runs, jobs, strict=True)]


def trained(runs: dict[str, RunDir], world: Callable[[str], int]) -> None:
    for size in sorted({world(name) for name in runs}):
        of_size = [run for name, run in runs.items() if world(name) == size]
        assert on_ranks(size, train_all, of_size) == [[0] * len(of_size)] * size


def cut_back(run: RunDir, step: int, folder: Path) -> RunDir:
    """A copy of the run as a crash would have left it after its checkpoint of `step`."""
    copy = RunDir(Path(shutil.copytree(run.path, folder)))
    for checkpoint in copy.checkpoints.glob("step-*"):
        if int(checkpoint.name.removeprefix("step-")) > step:
            shutil.rmtree(checkpoint)
    return copy


def rows(run: RunDir) -> list[dict[str, float]]:
    return [json.loads(line) for line in run.metrics.read_text().splitlines()]


def apart(run: RunDir, case: Case) -> float:
    """The largest difference of the run's weights and rows from the plain training's, relative where they are above 1."""
    net, expected = case.plain.train(case.order)
    weights = load_file(run.checkpoints / f"step-{case.plain.steps:08d}" / "model.safetensors")
    written = rows(run)
    state = net.state_dict()
    assert weights.keys() == state.keys()
    assert [row["step"] for row in written] == [*range(1, case.plain.steps + 1)]
    assert all("grad_norm" not in row for row in written) or case.plain.clip_norm
    # A stream's length is not known, nor then the share of its epoch that is done.
    keys = [key for key in expected[0] if expected[0][key] is not None and (key, case.items) != ("epoch", "Stream")]
    pairs = [(row[key], own[key]) for row, own in zip(written, expected, strict=True) for key in keys]
    pairs += chain.from_iterable(zip(numbers(weights[name]), numbers(state[name]), strict=True) for name in state)
    return max(float(abs(one - other) / max(1.0, abs(other))) for one, other in pairs)


def numbers(tensor: torch.Tensor) -> list[float]:
    return tensor.double().flatten().tolist()


def compare(folder: Path, cases: dict[str, Case]) -> None:
    runs = {name: run_of(folder / name, case.job()) for name, case in cases.items()}
    trained(runs, lambda name: cases[name].world)
    continued = {name: cut_back(runs[name], case.stop, folder / f"{name}-continued") for name, case in cases.items()}
    trained(continued, lambda name: cases[name].then)
    worst = {name: (apart(runs[name], case), apart(continued[name], case)) for name, case in cases.items()}
    assert max(max(each) for each in worst.values()) <= 1e-10, {name: each for name, each in worst.items() if max(each) > 1e-10}


NAMES = ("net", "norm", "loss", "kind", "optimizer", "schedule", "warmup", "clip_norm", "clip_value", "samples", "batch", "steps")
CUTS = ("world", "then", "stop", "micro", "workers", "items")
# Each value of each choice is met beside as many of the others' as this few rows allow.
ROWS: list[tuple[tuple[Any, ...], tuple[Any, ...]]] = [
    (("Net", True, "mse", "vectors", "nesterov", "cosine", 3, None, None, 47, 10, 12), (1, 3, 7, "auto", 0, "Pairs")),
    (("Net", True, "mse", "vectors", "adam", "linear", 0, 0.3, None, 23, 7, 9), (3, 2, 5, "auto", 0, "Pairs")),
    (("Net", True, "smoothed", "classes", "sgd", "own", 2, None, 0.02, 40, 10, 10), (4, 1, 3, "auto", 0, "Pairs")),
    (("Net", False, "own", "ignored", "adamw", "cosine", 2, 0.1, None, 47, 10, 12), (2, 3, 6, 2, 0, "Pairs")),
    (("Net", False, "weights", "ignored", "dampened", "step", 0, None, 0.05, 41, 8, 13), (3, 1, 7, 1, 0, "Pairs")),
    (("Net", False, "cross_entropy", "classes", "adam", "own", 0, 0.2, 0.05, 29, 6, 11), (4, 2, 6, 2, 0, "Mappings")),
    (("Net", False, "cross_entropy", "classes", "nesterov", "linear", 4, None, None, 47, 9, 13), (2, 1, 8, 3, 0, "Stream")),
    (("Net", False, "bce", "vectors", "sgd", "step", 1, None, None, 3, 7, 6), (4, 3, 2, "auto", 0, "Pairs")),
    (("Frozen", False, "l1", "vectors", "adamw", "linear", 2, None, None, 25, 2, 14), (3, 4, 6, "auto", 0, "Pairs")),
    (("Unused", True, "smoothed", "classes", "adamw", "constant", 0, 0.5, None, 31, 8, 9), (2, 4, 5, "auto", 0, "Pairs")),
    (("Tied", False, "mse", "vectors", "nesterov", "cosine", 0, None, 0.03, 33, 10, 9), (1, 2, 5, 4, 0, "Pairs")),
    (("Scaling", False, "weights", "classes", "dampened", "constant", 3, 0.4, None, 26, 64, 6), (3, 2, 4, 5, 2, "Pairs")),
    (("Routed", False, "nll", "ignored", "adamw", "step", 0, 0.3, None, 37, 4, 12), (3, 1, 6, 1, 0, "Pairs")),
    (("Routed", False, "function", "ignored", "sgd", "own", 0, None, None, 37, 6, 12), (2, 4, 5, 2, 0, "Pairs")),
    (("Net", False, "mse", "vectors", "nadam", "restarts", 0, None, None, 40, 8, 12), (1, 4, 5, 3, 0, "Pairs")),
    (("Net", False, "mse", "vectors", "radam", "polynomial", 2, None, None, 40, 8, 12), (2, 1, 7, 2, 0, "Pairs")),
    (("Net", False, "l1", "vectors", "rmsprop", "milestones", 3, None, None, 40, 8, 12), (4, 2, 6, 1, 0, "Pairs")),
    (("Net", False, "mse", "vectors", "adadelta", "exponential", 1, 0.5, None, 40, 8, 12), (2, 4, 3, "auto", 0, "Pairs")),
    (("Net", False, "mse", "vectors", "adafactor", "cycle", 2, None, None, 40, 8, 12), (4, 1, 5, 1, 0, "Pairs")),
]  # fmt: skip


def of_row(row: tuple[Any, ...], cut: tuple[Any, ...]) -> Case:
    plain: dict[str, Any] = dict(zip(NAMES, row, strict=True))
    return Case(plain=Plain(seed=SEED, **plain), **dict(zip(CUTS, cut, strict=True)))


SUITE = {f"{number}-{row[0]}-{row[2]}-{row[4]}": of_row(row, cut) for number, (row, cut) in enumerate(ROWS)}


def test_equals_plain_training_however_it_is_cut_up_and_interrupted(tmp_path: Path) -> None:
    compare(tmp_path, SUITE)


LOSSES_OF = {
    "classes": ["cross_entropy", "smoothed", "weights", "nll", "function"],
    "ignored": ["own", "function", "nll"],
    "vectors": ["mse", "l1", "bce"],
}
MICRO: list[int | str] = ["auto", 1, 2, 3, 5, 20]
SMOOTH = [name for name in OPTIMIZERS if name != "rprop"]
"""Rprop's steps go by the sign of the last bit."""
NETS = ["Net", "Frozen", "Unused", "Tied", "Scaling"]


def any_case(draw: random.Random) -> Case:
    kind = draw.choice([*LOSSES_OF])
    norm = draw.random() < 0.4
    batch = draw.randint(1, 16)
    # A rest of few samples may be all ignored, and batch norm is ill-conditioned on it.
    rest = draw.choice([0, *range(6, batch)]) if norm or kind == "ignored" else draw.randrange(batch)
    batch = max(batch, 6) if norm or kind == "ignored" else batch
    samples = batch * draw.randint(1, 5) + rest
    steps = draw.randint(5, 14)
    plain = Plain(
        seed=SEED, kind=kind, loss=draw.choice(LOSSES_OF[kind]), net=draw.choice(NETS), norm=norm, samples=samples, batch=batch,
        steps=steps, optimizer=draw.choice(SMOOTH),
        warmup=draw.choice([0, 0, 2, 4]),
        schedule=draw.choice(["constant", "cosine", "linear", "step", "own", "polynomial", "cycle"]),
        clip_norm=draw.choice([None, 0.3]), clip_value=draw.choice([None, 0.04]),
    )  # fmt: skip
    return Case(
        plain=plain, world=draw.randint(1, 4), then=draw.randint(1, 4), stop=draw.randint(1, steps - 1),
        micro="auto" if norm else draw.choice(MICRO), workers=draw.choice([0, 0, 0, 2]),
        items=draw.choice(["Pairs", "Stream"]),
    )  # fmt: skip


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(12))
def test_equals_plain_training_in_any_combination(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    compare(tmp_path, {f"case-{number}": any_case(draw) for number in range(20)})


def test_a_rows_loss_is_the_mean_over_all_samples_since_the_last_row(tmp_path: Path) -> None:
    """Rows at every 4th and every 5th step, of ragged batches; interrupted between rows, and continued in another world."""
    plain = Plain(seed=SEED, samples=47, batch=10, steps=17)
    case = Case(plain=plain, world=2, then=3, stop=6, micro=2)
    job = case.job()
    job["train"]["evaluate_every"], job["log"]["every"] = "5 steps", "4 steps"
    run = run_of(tmp_path / "run", job)
    trained({"run": run}, lambda _: case.world)
    continued = cut_back(run, case.stop, tmp_path / "continued")
    trained({"continued": continued}, lambda _: case.then)
    losses = [row["train/loss"] for row in plain.train(case.order)[1]]
    of_step = [7 if step % 5 == 0 else 10 for step in range(1, 18)]
    ends = [4, 5, 8, 10, 12, 15, 16, 17]
    windows = [range(first, last) for first, last in pairwise([0, *ends])]
    expected = [sum(losses[step] * of_step[step] for step in each) / sum(of_step[step] for step in each) for each in windows]
    for each in (run, continued):
        found = rows(each)
        assert [row["step"] for row in found] == ends
        assert [row["train/loss"] for row in found] == pytest.approx(expected, rel=1e-12)


def test_with_dropout_it_is_the_same_through_loader_processes_and_interruptions(tmp_path: Path) -> None:
    dropping = Plain(seed=SEED, samples=41, batch=9, steps=9, net="Dropping", optimizer="adamw")
    cases = {workers: Case(plain=dropping, world=3, then=3, stop=4, micro=2, workers=workers) for workers in (0, 2)}
    runs = {str(workers): run_of(tmp_path / str(workers), case.job()) for workers, case in cases.items()}
    trained(runs, lambda _: 3)
    runs["continued"] = cut_back(runs["2"], 4, tmp_path / "continued")
    trained({"continued": runs["continued"]}, lambda _: 3)
    ends = [(run.checkpoints / "step-00000009" / "model.safetensors").read_bytes() for run in runs.values()]
    assert ends == ends[:1] * 3
    assert apart(runs["0"], cases[0]) > 1e-3


@pytest.mark.parametrize("world", [1, 2])
def test_bf16_stays_near_fp32(tmp_path: Path, world: int) -> None:
    case = Case(plain=Plain(seed=SEED, samples=47, batch=10, steps=10, optimizer="nesterov"), world=world, then=world, stop=1)
    job = case.job()
    job["train"]["precision"] = "bf16"
    run = run_of(tmp_path / "run", job)
    trained({"run": run}, lambda _: world)
    _, expected = case.plain.train(case.order, torch.float32)
    for key in ("train/loss", "val/loss"):
        apart = [abs(row[key] - own[key]) for row, own in zip(rows(run), expected, strict=True)]
        assert 0 < max(apart) < 5e-3


@pytest.mark.parametrize(
    "loss",
    [nn.MSELoss(reduction="sum"), nn.CrossEntropyLoss(reduction="sum"), partial(nn.functional.cross_entropy, reduction="sum")],
)
def test_a_loss_that_sums_is_refused(loss: Callable[..., torch.Tensor]) -> None:
    with pytest.raises(WorkerError, match=r"train\.loss \(mine\) has reduction: sum; a loss gives the mean"):
        make_objective(loss, "mine", builtin=False, targets=None)


class OfASubclass(nn.CrossEntropyLoss):
    """With class weights, as one writes them where a list is not a tensor."""

    def __init__(self) -> None:
        super().__init__(torch.tensor(CLASS_WEIGHTS))


@pytest.mark.parametrize(
    "loss", [OfASubclass(), nn.NLLLoss(torch.tensor(CLASS_WEIGHTS)), partial(nn.functional.cross_entropy, ignore_index=2)]
)
def test_torchs_weighted_means_tell_their_weight(loss: Callable[..., torch.Tensor]) -> None:
    objective = make_objective(loss, "mine", builtin=False, targets=None)
    output, target = torch.randn(9, 5, dtype=torch.float64), torch.tensor([2, 0, 1, 2, 3, 4, 2, 2, 0])
    parts = [(output[cut], target[cut]) for cut in (slice(0, 1), slice(1, 4), slice(4, 9))]
    weights = [objective.weight(part) for part in parts]
    mean = sum(objective.total(part[0], part, weight) for part, weight in zip(parts, weights, strict=True)) / sum(weights)
    loss = loss.double() if isinstance(loss, nn.Module) else loss
    assert float(mean) == pytest.approx(float(loss(output, target)), rel=1e-7)


def test_a_rows_rate_is_that_of_parameters_without_a_group_of_their_own(tmp_path: Path) -> None:
    case = Case(plain=Plain(seed=SEED, samples=10, batch=10, steps=1), world=1, then=1, stop=1)
    job = case.job()
    job["train"]["optimizer"]["groups"] = [{"match": "last.*", "lr": 0.01}]
    run = run_of(tmp_path / "run", job)
    trained({"run": run}, lambda _: 1)
    assert rows(run)[0]["lr"] == 0.2


class Rateless(torch.optim.Optimizer):
    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {})


def test_an_optimizer_without_a_rate_is_refused() -> None:
    with pytest.raises(WorkerError, match="my:Rateless keeps no 'lr' in its param_groups"):
        make_optimizer(Rateless, nn.Linear(1, 1), OptimizerTarget(target="my:Rateless"))
