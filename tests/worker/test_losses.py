"""Every loss: value and gradient are those of plain torch on the whole batch, however it is cut."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from launcher.rundir import RunDir
from launcher.worker.build import Training, make_loss
from launcher.worker.data.fetch import Fetch
from launcher.worker.data.loader import Loader
from launcher.worker.ddp import call_model
from launcher.worker.errors import WorkerError
from launcher.worker.evaluate import evaluate
from launcher.worker.job import read_job
from launcher.worker.losses.objective import make_objective
from launcher.worker.step import gradient
from launcher.worker.world import World
from tests.worker.plain import CLASS_WEIGHTS
from tests.worker.worlds import a_job, in_world, on_ranks, run_of

SAMPLES = 29
WEIGHTS = torch.tensor(CLASS_WEIGHTS, dtype=torch.float64)
POSITIVE = [0.5, 2.0, 1.0, 3.0, 0.1]
BY_OUTPUT = torch.tensor(POSITIVE, dtype=torch.float64)
Plain = Callable[[Any, Any], Tensor]


def focal(output: Tensor, target: Tensor, *, gamma: float, weight: Tensor | None = None) -> Tensor:
    """Written from the paper, sample by sample."""
    total, whole = torch.zeros(()).double(), 0.0
    for logits, each in zip(output, target.tolist(), strict=True):
        if each < 0:
            continue
        p, alpha = logits.softmax(0)[each], 1.0 if weight is None else float(weight[each])
        total, whole = total - alpha * (1 - p) ** gamma * p.log(), whole + alpha
    return total / whole


def ctc(output: Tensor, batch: dict[str, Tensor]) -> Tensor:
    lengths = (batch["input_lengths"], batch["target_lengths"])
    return F.ctc_loss(output.log_softmax(2).transpose(0, 1), batch["target"], *lengths)


def balanced(output: Tensor, target: Tensor) -> Tensor:
    counts = torch.bincount(target[target >= 0], minlength=5)
    return F.cross_entropy(output, target, weight=(target >= 0).sum() / (5 * counts.double()))


def balanced_bits(output: Tensor, target: Tensor) -> Tensor:
    ones = target.sum(0).double()
    return F.binary_cross_entropy_with_logits(output, target.double(), pos_weight=(len(target) - ones) / ones)


CASES: dict[str, tuple[Any, str, str, Plain]] = {
    # name: (train.loss, items, model, the same by hand)
    "mse": ("mse", "numbers", "Wide", F.mse_loss),
    "mse of one": ("mse", "one", "One", lambda output, target: F.mse_loss(output[:, 0], target)),
    "torch's mse of one": ("torch.nn:MSELoss", "one", "One", lambda output, target: F.mse_loss(output[:, 0], target)),
    "l1": ("l1", "numbers", "Wide", F.l1_loss),
    "smooth_l1": ({"target": "smooth_l1", "beta": 0.3}, "numbers", "Wide", partial(F.smooth_l1_loss, beta=0.3)),
    "huber": ({"target": "huber", "delta": 0.7}, "numbers", "Wide", partial(F.huber_loss, delta=0.7)),
    "cross_entropy": ({"target": "cross_entropy", "label_smoothing": 0.1}, "ignored", "Wide",
                      partial(F.cross_entropy, label_smoothing=0.1)),
    "weighted": ({"target": "cross_entropy", "weight": CLASS_WEIGHTS, "ignore_index": 2}, "classes", "Wide",
                 partial(F.cross_entropy, weight=WEIGHTS, ignore_index=2)),
    "pixels": ({"target": "cross_entropy", "weight": CLASS_WEIGHTS}, "pixels", "Pixels",
               partial(F.cross_entropy, weight=WEIGHTS)),
    "shares": ("cross_entropy", "shares", "Wide", F.cross_entropy),
    "auto": ({"target": "cross_entropy", "weight": "auto"}, "ignored", "Wide", balanced),
    "auto, read": ({"target": "cross_entropy", "weight": "auto"}, "read", "Wide", balanced),
    "nll": ({"target": "nll", "weight": CLASS_WEIGHTS}, "ignored", "Logarithms", partial(F.nll_loss, weight=WEIGHTS)),
    "bce": ({"target": "bce", "weight": POSITIVE}, "bits", "Likely",
            lambda output, target: F.binary_cross_entropy(output, target.double(), BY_OUTPUT)),
    "bce_with_logits": ({"target": "bce_with_logits", "pos_weight": POSITIVE}, "bits", "Wide",
                        lambda output, target: F.binary_cross_entropy_with_logits(
                            output, target.double(), pos_weight=BY_OUTPUT)),
    "auto bits": ({"target": "bce_with_logits", "pos_weight": "auto"}, "bits", "Wide", balanced_bits),
    "kl_div": ("kl_div", "shares", "Logarithms", partial(F.kl_div, reduction="batchmean")),
    "focal": ({"target": "focal", "gamma": 1.5, "weight": CLASS_WEIGHTS}, "ignored", "Wide",
              partial(focal, gamma=1.5, weight=WEIGHTS)),
    "no focus": ({"target": "focal", "gamma": 0, "weight": CLASS_WEIGHTS}, "ignored", "Wide",
                 partial(F.cross_entropy, weight=WEIGHTS)),
    "ctc": ("ctc", "sequences", "Steps", ctc),
    "triplet": ({"target": "torch.nn:TripletMarginLoss", "margin": 0.5}, "classes", "Three",
                lambda output, target: F.triplet_margin_loss(*output, margin=0.5)),
    "cosine": ("torch.nn:CosineEmbeddingLoss", "signs", "Two",
               lambda output, target: F.cosine_embedding_loss(*output, target)),
    "gaussian": ("torch.nn:GaussianNLLLoss", "one", "MeanAndVariance",
                 lambda output, target: F.gaussian_nll_loss(output[0], target, output[1])),
}  # fmt: skip


class Items:
    """Inputs are 6 numbers, sequences (7, 6)."""

    def __init__(self, samples: int, kind: str) -> None:
        draw = torch.Generator().manual_seed(samples)
        self.kind, self.inputs = kind, torch.randn(samples, 6, generator=draw)
        self.answers = self.drawn(samples, draw)
        if kind != "read":
            self.targets = self.answers

    def drawn(self, samples: int, draw: torch.Generator) -> Tensor:
        classes = torch.randint(5, (samples,), generator=draw)
        match self.kind:
            case "numbers":
                return torch.randn(samples, 5, generator=draw)
            case "one":
                return torch.randn(samples, generator=draw)
            case "bits":
                return (torch.rand(samples, 5, generator=draw) < 0.4).long()
            case "shares":
                return torch.rand(samples, 5, generator=draw, dtype=torch.float64).softmax(1)
            case "signs":
                return classes % 2 * 2 - 1
            case "pixels":
                pixels = torch.randint(5, (samples, 3), generator=draw)
                return pixels.masked_fill(torch.rand(samples, 3, generator=draw) < 0.3, -100)
            case "sequences":
                return torch.randint(1, 5, (samples, 3), generator=draw)
        return classes.masked_fill(classes == 1, -100) if self.kind in ("ignored", "read") else classes

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> Any:
        if self.kind != "sequences":
            return self.inputs[index], self.answers[index]
        lengths = {"input_lengths": 6 + index % 2, "target_lengths": index % 4}
        return {"input": self.inputs[index].expand(7, 6) * torch.arange(7)[:, None], "target": self.answers[index], **lengths}


class Net(nn.Module):
    """A linear layer of 15 outputs, and what is made of them."""

    def __init__(self, gives: str) -> None:
        super().__init__()
        self.gives, self.linear = gives, nn.Linear(6, 15)

    def forward(self, input: Tensor) -> Any:  # noqa: A002
        output = self.linear(input)
        match self.gives:
            case "One":
                return output.mean(1, keepdim=True)
            case "Pixels":
                return output.view(-1, 5, 3)
            case "Steps":
                return output[..., :5]
            case "Three":
                return output.split(5, 1)
            case "Two":
                return [output[:, :5], output[:, 5:10]]
            case "MeanAndVariance":
                return output[:, 0], output[:, 1].exp()
        wide = output[:, :5] + output[:, 5:10] + output[:, 10:]
        return wide.log_softmax(1) if self.gives == "Logarithms" else wide.sigmoid() if self.gives == "Likely" else wide


def job(name: str, *, batch: int = SAMPLES, micro: int | str = "auto") -> dict[str, Any]:
    loss, items, gives, _ = CASES[name]
    data = {"target": "test_losses:Items", "samples": SAMPLES, "kind": items}
    return a_job(
        model={"target": "test_losses:Net", "gives": gives}, loss=loss, precision="fp64",
        data={"train": data, "val": data, "batch_size": batch, "micro_batch_size": micro, "shuffle": False},
    )  # fmt: skip


def differences(training: Training, run: RunDir) -> tuple[float, ...]:
    """Of the loss in training and in evaluation, and of the gradient, from plain torch's, relative to it."""
    plain, by_hand = copy.deepcopy(training.model), CASES[run.path.name.split("+")[0]][3]
    batch = whole(training.train)
    output = call_model(plain, training.inputs, batch)
    expected = by_hand(output, batch if isinstance(batch, dict) else batch[1])
    gradients = torch.autograd.grad(expected, list(plain.parameters()))
    of_step = gradient(training, next(training.train.portions()), step=0)
    total = training.world.sum([sum(mean.item() * weight for mean, weight in of_step.parts)])[0] / float(of_step.weight)
    apart = [(mine.grad - each).abs().max() / each.abs().max() for mine, each in zip(training.parameters, gradients, strict=True)]
    validated = evaluate(training, "val")["val/loss"]
    return abs(total / expected.item() - 1), abs(validated / expected.item() - 1), max(map(float, apart))


def whole(loader: Loader) -> Any:
    fetch: Fetch = loader.fetch
    batch = fetch.collate([fetch.dataset[index] for index in range(SAMPLES)])
    cast = lambda value: value.double() if value.is_floating_point() else value  # noqa: E731
    return {key: cast(value) for key, value in batch.items()} if isinstance(batch, dict) else [cast(value) for value in batch]


@pytest.mark.parametrize("world_size", [1, 4, pytest.param(2, marks=pytest.mark.long)])
def test_a_loss_and_its_gradient_equal_plain_torch_on_the_whole_batch(tmp_path: Path, world_size: int) -> None:
    runs = [run_of(tmp_path / f"{name}+{micro}", job(name, micro=micro)) for name in CASES for micro in ("auto", 3)]
    for found in on_ranks(world_size, in_world, runs, differences):
        for run, apart in zip(runs, found, strict=True):
            assert max(apart) < 1e-12, run.path.name


TORCHS = [
    (nn.MSELoss(), "numbers"), (nn.HuberLoss(delta=0.5), "numbers"), (nn.SmoothL1Loss(beta=0.5), "numbers"),
    (nn.BCEWithLogitsLoss(pos_weight=torch.tensor(POSITIVE)), "bits"),
]  # fmt: skip


@pytest.mark.parametrize(("loss", "kind"), TORCHS)
def test_torchs_own_are_the_same_by_either_name(loss: nn.Module, kind: str) -> None:
    objective = make_objective(loss, "mine", builtin=False, targets=None)
    output, targets = torch.randn(9, 5), Items(9, kind).targets
    assert objective.loss is not loss
    assert float(objective.mean(output, (None, targets))) == pytest.approx(float(loss(output, targets.float())), rel=1e-6)


def test_a_class_that_training_lacks_weighs_one() -> None:
    objective = make_objective_of_auto(torch.tensor([0, 0, 0, 2]))
    output, target = torch.randn(3, 5), torch.tensor([0, 2, 4])
    weights = torch.tensor([4 / 6, 1.0, 2.0, 1.0, 1.0])
    torch.testing.assert_close(objective.mean(output, (None, target)), F.cross_entropy(output, target, weight=weights))
    assert float(objective.weight((None, target))) == pytest.approx(4 / 6 + 2 + 1)


def make_objective_of_auto(targets: Tensor) -> Any:
    from launcher.worker.losses.classes import CrossEntropy

    loss = CrossEntropy(weight="auto")
    loss.balance(targets)
    return make_objective(loss, "cross_entropy", builtin=True, targets=None)


def sequences(**changed: Any) -> dict[str, Any]:
    return {"target": torch.tensor([[1, 2, 3], [3, 3, 4]]), **changed}


UNFIT: list[tuple[str, Any, Any, str]] = [
    ("bce", torch.tensor([[0.5], [1.5]]), torch.tensor([0, 1]), "wants probabilities as outputs, and they go from 0.5 to 1.5"),
    ("bce_with_logits", torch.zeros(2, 1), torch.tensor([0, 3]), "wants targets from 0 to 1, and they go from 0 to 3"),
    ("cross_entropy", torch.zeros(2, 3), torch.tensor([0, 3]), "targets from 0 to 3 are outside the 3 classes"),
    ("cross_entropy", torch.zeros(2, 3), torch.tensor([0, 1], dtype=torch.int32), "class indices of int64; data.val gives int32"),
    ("cross_entropy", torch.zeros(2), torch.tensor([0, 1]), "wants an output for each class, (N, classes)"),
    ("cross_entropy", torch.zeros(2, 3), torch.zeros(2, 1).long(), "wants class indices of shape [2] for the output float32"),
    ("kl_div", torch.zeros(1, 2), torch.tensor([[-0.7, -0.7]]), "Logarithms? Write log_target: true"),
    ("ctc", torch.zeros(2, 9, 4), sequences(), "finds labels from 1 to 4, outside the 4 classes of the model's output"),
    ("ctc", torch.zeros(2, 3, 5), sequences(), "no room for the 3 labels of a sample in its 3 time steps"),
    ("ctc", torch.zeros(2, 9, 5), sequences(input_lengths=torch.tensor([9, 10])), "input_lengths from 9 to 10, beyond the 9"),
    ("ctc", torch.zeros(2, 9, 5), sequences(target_lengths=torch.tensor([4, 1])), "target_lengths from 1 to 4, beyond the 3"),
    ("ctc", torch.zeros(2, 9, 5), {"target": torch.zeros(2, 3).long()}, "finds the blank, 0, among the labels"),
]  # fmt: skip


@pytest.mark.parametrize(("loss", "output", "target", "words"), UNFIT)
def test_what_does_not_fit_a_loss_is_told_in_its_terms(loss: str, output: Tensor, target: Any, words: str) -> None:
    from launcher.spec.target import Target
    from launcher.worker.targets import constructed_or_bound

    made = constructed_or_bound("loss", Target(target=loss), "train.loss")
    objective = make_objective(made, loss, builtin=True, targets=None)
    said = objective.unfit(output, target if isinstance(target, dict) else (None, target), split="val")
    assert said is not None
    assert words in said


def test_what_torch_refuses_on_a_later_batch_is_told_too() -> None:
    objective = make_objective(nn.CrossEntropyLoss(), "cross_entropy", builtin=True, targets=None)
    with pytest.raises(WorkerError, match=r"cross_entropy wants class indices of int64.*targets are float32 of shape"):
        objective.mean(torch.zeros(3, 2), (None, torch.zeros(3)))


@pytest.mark.parametrize(("device", "precision"), [("meta", "fp32"), ("cpu", "fp64")])
@pytest.mark.parametrize("loss", [
    {"target": "cross_entropy", "weight": [1, 5]},
    {"target": "torch.nn.functional:cross_entropy", "weight": [1, 5]},
    {"target": "torch.nn.functional:binary_cross_entropy_with_logits", "pos_weight": [1, 5]},
    {"target": "test_losses:OfItsOwn"},
])  # fmt: skip
def test_what_a_loss_holds_is_where_the_model_is(
    tmp_path: Path, loss: dict[str, Any], device: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    train = read_job(run_of(tmp_path / "run", a_job(loss=loss, precision=precision))).train
    assert train is not None
    data: Any = SimpleNamespace(dataset=None)
    objective = make_loss(train, data, World(device=torch.device(device)))
    (held,) = objective.loss.buffers()  # type: ignore[attr-defined]
    assert (held.device.type, held.dtype == torch.float64) == (device, precision == "fp64" or "OfItsOwn" not in loss["target"])


class OfItsOwn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("held", torch.ones(2))
