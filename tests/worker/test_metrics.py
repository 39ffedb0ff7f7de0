"""Every metric is scikit-learn's in one process, for any number of samples on any number of ranks."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torch import Tensor

from launcher.rundir import json_lines
from launcher.spec.target import Target
from launcher.worker.errors import WorkerError
from launcher.worker.evaluate import evaluate
from launcher.worker.metrics import Measures, counts, make_measures, rows
from launcher.worker.metrics.error_rate import edits, spoken
from launcher.worker.metrics.seen import Reading
from launcher.worker.views import matrices
from launcher.worker.world import World, detect
from tests.worker.worlds import ALONE, RANK_MAY_TAKE_S, a_job, in_world, on_ranks, run_of, train_run

CLASSES = 5
MICRO = 37
Values = dict[str, float]

COUNTED = ("precision", "recall", "f1", "specificity")
CURVES = ("auroc", "average_precision")
NUMBERS = ("mae", "mse", "rmse", "r2", "explained_variance")


def logits(samples: int) -> Tensor:
    return torch.randn(samples, CLASSES, generator=torch.Generator().manual_seed(samples), dtype=torch.float64)


def drawn(samples: int, kind: str) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(7 * samples)
    classes, output = torch.randint(CLASSES, (samples,), generator=draw), logits(samples)
    match kind:
        case "ignored":
            return output, classes.masked_fill(classes == 3, -100)
        case "pixels":
            return output[:, :, None].expand(-1, -1, 2).clone() * torch.tensor([1.0, -1.0]), torch.stack([classes, classes], 1)
        case "two":
            return output[:, :2], classes % 2
        case "one logit" | "likely":
            return output[:, :1] if kind == "one logit" else output[:, 0].sigmoid(), classes % 2
        case "labels":
            return output, (torch.rand(samples, CLASSES, generator=draw) < 0.4).long()
        case "numbers":
            return output[:, :3], 1e3 + torch.randn(samples, 3, generator=draw, dtype=torch.float64)
        case "one number":
            return output[:, :1], torch.randn(samples, generator=draw, dtype=torch.float64) * 1e-3
    return output, classes


def mean_over_classes(score: Callable[..., float], likely: np.ndarray, wanted: np.ndarray, average: str) -> float:
    """Over those with samples, and samples of others."""
    shares = [(wanted == each).mean() for each in range(CLASSES)]
    there = [each for each in range(CLASSES) if 0 < shares[each] < 1]
    weights = [shares[each] if average == "weighted" else 1.0 for each in there]
    values = [float(score(wanted == each, likely[:, each])) for each in there]
    return float(np.average(values, weights=weights)) if there else math.nan


def specificity(wanted: np.ndarray, found: np.ndarray, **arguments: Any) -> float:
    (tn, fp), (fn, tp) = sk.multilabel_confusion_matrix(wanted, found, **arguments).transpose(1, 2, 0)
    weight = (tp + fp + fn > 0) if arguments else np.ones(len(tp))
    return float((np.where(weight, tn / np.maximum(tn + fp, 1), 0)).sum() / weight.sum())


BY_SCIKIT: dict[str, Callable[..., float]] = {
    "precision": sk.precision_score, "recall": sk.recall_score, "f1": sk.f1_score,
}  # fmt: skip


def of_classes(output: Tensor, target: Tensor, average: str) -> Values:
    kept = (target >= 0).numpy()
    found, wanted, likely = output.argmax(1).numpy()[kept], target.numpy()[kept], output.softmax(1).numpy()[kept]
    if not len(wanted):
        return dict.fromkeys((*COUNTED[:3], *CURVES, "accuracy", "top_k"), math.nan)
    ranked = (output.numpy()[kept] > output.numpy()[kept][np.arange(len(wanted)), wanted][:, None]).sum(1)
    return {
        "accuracy": sk.accuracy_score(wanted, found), "top_k": float((ranked < 2).mean()),
        **{name: score(wanted, found, average=average, zero_division=0) for name, score in BY_SCIKIT.items()},
        **({"specificity": specificity(wanted, found, labels=range(CLASSES))} if average == "macro" else {}),
        **({name: mean_over_classes(getattr(sk, f"{long}_score"), likely, wanted, average)
            for name, long in zip(CURVES, ("roc_auc", "average_precision"), strict=True)} if average != "micro" else {}),
    }  # fmt: skip


def of_two(likely: Tensor, target: Tensor) -> Values:
    found, wanted, both = (likely > 0.5).long().numpy(), target.numpy(), 0 < target.sum() < len(target)
    return {
        "accuracy": sk.accuracy_score(wanted, found),
        **{name: score(wanted, found, zero_division=0) for name, score in BY_SCIKIT.items()},
        "auroc": sk.roc_auc_score(wanted, likely) if both else math.nan,
        "average_precision": sk.average_precision_score(wanted, likely) if both else math.nan,
    }


def of_labels(output: Tensor, target: Tensor) -> Values:
    found, wanted = (output > 0).long().numpy(), target.numpy()
    return {
        "accuracy": float((found == wanted).mean()),
        **{name: score(wanted, found, average="macro", zero_division=0) for name, score in BY_SCIKIT.items()},
        "auroc": labels_mean(sk.roc_auc_score, output.sigmoid().numpy(), wanted),
    }


def labels_mean(score: Callable[..., float], likely: np.ndarray, wanted: np.ndarray) -> float:
    there = [each for each in range(CLASSES) if 0 < wanted[:, each].mean() < 1]
    return float(np.mean([score(wanted[:, each], likely[:, each]) for each in there])) if there else math.nan


def of_numbers(output: Tensor, target: Tensor) -> Values:
    found, wanted = output.numpy(), target.numpy().reshape(output.shape)
    mse, several = sk.mean_squared_error(wanted, found), len(wanted) > 1
    return {
        "mae": sk.mean_absolute_error(wanted, found), "mse": mse, "rmse": mse**0.5,
        "r2": sk.r2_score(wanted, found) if several else math.nan,
        "explained_variance": sk.explained_variance_score(wanted, found) if several else math.nan,
    }  # fmt: skip


LOGITS, CLASSED = Reading(labels="bits"), Reading(labels="classes", ignored=-100)
CASES: dict[str, tuple[str, Reading, str | None, Callable[[Tensor, Tensor], Values]]] = {
    "macro": ("classes", CLASSED, None, lambda output, target: of_classes(output, target, "macro")),
    "micro": ("classes", CLASSED, "micro", lambda output, target: of_classes(output, target, "micro")),
    "weighted": ("classes", Reading(), "weighted", lambda output, target: of_classes(output, target, "weighted")),
    "ignored": ("ignored", CLASSED, None, lambda output, target: of_classes(output, target, "macro")),
    "pixels": ("pixels", CLASSED, None,
               lambda output, target: of_classes(output.movedim(1, 2).flatten(0, 1), target.flatten(), "macro")),
    "two": ("two", CLASSED, None, lambda output, target: of_two(output.softmax(1)[:, 1], target)),
    "one logit": ("one logit", LOGITS, None, lambda output, target: of_two(output[:, 0].sigmoid(), target)),
    "one of nobody's": ("one logit", Reading(), None, lambda output, target: of_two(output[:, 0].sigmoid(), target)),
    "likely": ("likely", Reading(labels="bits", gives="probabilities"), None, of_two),
    "labels": ("labels", LOGITS, None, of_labels),
    "numbers": ("numbers", Reading(), None, of_numbers),
    "one number": ("one number", Reading(), None, of_numbers),
}  # fmt: skip


def measures_of(case: str) -> Measures:
    kind, reading, average, _ = CASES[case]
    if "number" in kind:
        return make_measures([Target(target=name) for name in NUMBERS], reading)
    beside = {} if average is None else {"average": average}
    curves = CURVES if average != "micro" else ()
    named = [Target(target=name, **beside) for name in (*COUNTED, *curves)] + [Target(target="accuracy")]
    more = [Target(target="top_k", top_k=2)] if kind in ("classes", "ignored", "pixels") else []
    return make_measures([*named, *more, Target(target="confusion_matrix")], reading)


def measured(measures: Measures, output: Tensor, target: Tensor, world: World) -> Values:
    """Each rank has every so-manieth sample."""
    own = torch.arange(len(output))[world.rank :: world.world_size]
    measures.start()
    for ids in own.split(MICRO) if len(own) else ():
        measures.add(output[ids], (None, target[ids]), int(ids[0]))
    return measures.values(world)


def apart(sizes: Sequence[int]) -> dict[str, float]:
    """On a rank: what all ranks' values together differ from scikit-learn's, by case and metric. Ranks take turns to look."""
    import os

    import torch.distributed as dist

    world, worst = detect(os.environ, "cpu"), {}
    dist.init_process_group("gloo")
    for case, (kind, _, _, reference) in CASES.items():
        measures = measures_of(case)
        own = {}
        for samples in sizes:
            values = measured(measures, *drawn(samples, kind), world)
            own[samples] = values, measures.beside(world).tables.get("confusion_matrix")
        by_rank = world.gather(own)
        for samples in sizes[world.rank :: world.world_size]:
            output, target = drawn(samples, kind)
            for name, value in reference(output, target).items():
                worst[f"{case}: {name}, {samples} samples"] = sum(difference(each[samples][0][name], value) for each in by_rank)
            if kind == "classes":
                matrix = sk.confusion_matrix(target, output.argmax(1), labels=range(CLASSES)).tolist()
                assert [each[samples][1] for each in by_rank] == [matrix] * world.world_size
    dist.destroy_process_group()
    return worst


def difference(found: float, expected: float) -> float:
    both_none = math.isnan(expected) and math.isnan(found)
    return 0.0 if both_none else abs(found - expected) / max(1.0, abs(expected))


@pytest.mark.parametrize(
    ("world_size", "sizes"),
    [
        (1, (1, 2, 7, 31, 400)),
        (4, (1, 3, 31)),
        *(pytest.param(world, range(1, 401), marks=pytest.mark.long) for world in (1, 2, 3, 4)),
    ],
)
@pytest.mark.timeout(1800)
def test_equals_scikit_learn(world_size: int, sizes: Sequence[int]) -> None:
    by_rank = on_ranks(world_size, apart, sizes, may_take_s=max(RANK_MAY_TAKE_S, 4 * len(sizes)))
    assert len({key.rpartition(", ")[2] for found in by_rank for key in found}) == len(sizes)
    for found in by_rank:
        too_far = {
            key: each for key, each in found.items() if not each <= (1e-6 if any(name in key for name in CURVES) else 1e-12)
        }
        assert not too_far


@pytest.mark.parametrize("case", ["macro", "ignored", "labels", "two"])
def test_counts_are_the_same_however_many_are_counted_at_once(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    output, target = drawn(100, CASES[case][0])
    expected = measured(measures_of(case), output, target, ALONE)
    for at_once in (1, 2 * MICRO + 1, (2 * MICRO + 1) * CLASSES, 100):
        monkeypatch.setattr(counts, "AT_ONCE", at_once)
        assert measured(measures_of(case), output, target, ALONE) == pytest.approx(expected, abs=0, nan_ok=True)


def test_specificity_of_the_second_of_two_classes() -> None:
    output, target = drawn(100, "one logit")
    measures = measures_of("one logit")
    recall_of_first = sk.recall_score(target, output[:, 0] > 0, pos_label=0)
    assert measured(measures, output, target, ALONE)["specificity"] == pytest.approx(recall_of_first, abs=1e-12)


@pytest.mark.parametrize(("found", "true", "expected"), [
    ([], [], 0), ([1, 2, 3], [1, 2, 3], 0), ([1, 3], [1, 2, 3], 1), ([1, 2, 2, 3], [1, 2, 3], 1), ([4, 5], [], 2),
    ([3, 1, 2], [1, 2, 3], 2), ([1, 9, 3], [1, 2, 3], 1),
])  # fmt: skip
def test_edits_are_insertions_deletions_and_substitutions(found: list[int], true: list[int], expected: int) -> None:
    assert edits(found, true) == edits(true, found) == expected


def test_a_path_loses_repeats_then_blanks() -> None:
    assert spoken([0, 3, 3, 0, 3, 1, 1, 0], blank=0) == [3, 3, 1]


def sequences_measured() -> Values:
    output = torch.full((2, 4, 3), -9.0)
    for sample, path in enumerate(([1, 0, 1, 2], [2, 2, 1, 1])):
        output[sample, range(4), path] = 9.0
    batch = {"target": torch.tensor([[1, 1, 2], [2, 9, 9]]), "input_lengths": torch.tensor([4, 2]),
             "target_lengths": torch.tensor([3, 1])}  # fmt: skip
    measures = make_measures([Target(target="error_rate")], Reading())
    measures.start()
    measures.add(output, batch, 0)
    return measures.values(ALONE)


def test_sequences_are_compared_up_to_their_lengths() -> None:
    assert sequences_measured() == {"error_rate": 0.0}


MISFITS: list[tuple[str, Any, Any, str]] = [
    ("f1", torch.zeros(4, 3), torch.zeros(4), "f1 compares classes, and the target is float32 [4] and the model's output"),
    ("auroc", torch.zeros(4, 3), torch.zeros(4, 2), "train.metrics: auroc compares classes"),
    ("r2", torch.zeros(4, 3), torch.zeros(4).long(), "r2 compares numbers and wants targets of the output's shape"),
    ("top_k", torch.zeros(4, 1), torch.zeros(4).long(), "top_k wants an output for each class"),
    ("error_rate", torch.zeros(4, 3), torch.zeros(4).long(), "error_rate compares sequences of labels"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "output", "target", "words"), MISFITS)
def test_what_a_metric_cannot_measure_is_told(name: str, output: Tensor, target: Tensor, words: str) -> None:
    measures = make_measures([Target(target=name)], Reading())
    measures.start()
    with pytest.raises(WorkerError) as refused:
        measures.add(output, (None, target), 0)
    assert words in str(refused.value)
    assert refused.value.kind == "spec"


COLLAPSED: list[tuple[list[int], list[int], bool]] = [
    # predictions and targets of 3 classes
    ([100, 0, 0], [30, 40, 30], True), ([98, 1, 1], [90, 5, 5], False), ([95, 3, 2], [30, 40, 30], True),
    ([100, 0, 0], [98, 1, 1], False), ([1000, 0, 0], [980, 10, 10], True), ([980, 10, 10], [980, 10, 10], False),
    ([100, 0, 0], [100, 0, 0], False), ([8, 0, 0], [4, 2, 2], False),
]  # fmt: skip


@pytest.mark.parametrize(("found", "wanted", "told"), COLLAPSED)
def test_a_network_that_finds_one_class_alone_is_seen(found: list[int], wanted: list[int], told: bool) -> None:
    outputs = torch.repeat_interleave(torch.eye(3), torch.tensor(found), dim=0)
    measures = make_measures([Target(target="accuracy")], Reading())
    measures.start()
    measures.add(outputs, (None, torch.repeat_interleave(torch.arange(3), torch.tensor(wanted))), 0)
    measures.values(ALONE)
    seen = measures.beside(ALONE).one_class
    assert (seen is not None) == told
    assert seen is None or (seen.found, seen.of_targets) == (0, pytest.approx(wanted[0] / sum(wanted)))


def test_a_run_keeps_its_matrices_and_tells_of_one_class_alone(tmp_path: Path) -> None:
    digits = {"target": "digits", "flatten": True}
    described = a_job(
        data={"train": digits, "val": digits | {"split": "val"}, "test": digits | {"split": "val"}, "batch_size": 100},
        metrics=["f1", "confusion_matrix", "auroc"], max_steps=1, optimizer={"target": "sgd", "lr": 1000.0},
    )  # fmt: skip
    run = run_of(tmp_path / "run", described)
    assert on_ranks(2, train_run, run) == [0, 0]
    (row,) = json_lines(run.metrics)
    assert {"val/f1", "val/auroc", "test/f1", "val/loss"} <= row.keys()
    assert not any("confusion" in key for key in row)
    held = json.loads((run.plots / "confusion_matrix-val.json").read_text())
    assert [sum(line) for line in held["counts"]] == [36, 36, 35, 37, 36, 37, 36, 36, 35, 36]
    assert (held["step"], held["rows"]) == (1, "wanted")
    told = [event for event in json_lines(run.events) if event["event"] == "one_class"]
    shares = [sum(column) / 360 for column in zip(*held["counts"], strict=True)]
    assert max(shares) > 0.95
    assert [(each["step"], each["class"]) for each in told] == [(1, shares.index(max(shares)))]
    assert told[0]["share"] == pytest.approx(max(shares), abs=1e-6)
    assert told[0]["of_targets"] == pytest.approx(0.1, abs=0.01)
    matrices.draw(run.plots, "run")
    assert (run.plots / "confusion_matrix-test.png").read_bytes().startswith(b"\x89PNG")


def rehearsed(training: Any, run: Any) -> str:
    from launcher.worker.rehearsal import rehearse

    torch.manual_seed(0)
    before = {name: tensor.clone() for name, tensor in training.model.state_dict().items()}
    try:
        rehearse(training)
    except WorkerError as error:
        return f"{error.kind}, rank {error.details['rank'] - training.world.rank} from this one: {error}"
    assert all(tensor.equal(before[name]) for name, tensor in training.model.state_dict().items())
    return str(evaluate(training, "val").keys())


def test_what_an_evaluation_cannot_do_is_told_before_the_first_step(tmp_path: Path) -> None:
    numbers, small = {"target": "sets:numbers", "samples": 9}, {"target": "mlp", "in_features": 6, "out_features": 5}
    wider = small | {"out_features": 6}
    classes, wide = {"target": "sets:classes", "samples": 9}, {"target": "sets:classes", "samples": 9, "features": 7}
    jobs = [
        {"loss": "mse", "metrics": ["f1"], "data": {"train": numbers, "val": numbers, "batch_size": 4}},
        {"data": {"train": classes, "val": wide, "batch_size": 4}},
        {"data": {"train": classes, "test": numbers, "batch_size": 4}, "model": wider},
        {"data": {"train": classes, "val": classes, "batch_size": 4}, "metrics": ["f1"]},
    ]
    runs = [run_of(tmp_path / str(number), a_job(**{"model": small} | job)) for number, job in enumerate(jobs)]
    words = ("f1 compares classes", "the first batch of train.data.val does not go through train.model (mlp)",
             "cross_entropy wants class indices of int64, or probabilities of the output's shape", "val/f1")  # fmt: skip
    for found in on_ranks(2, in_world, runs, rehearsed):
        for message, expected in zip(found, words, strict=True):
            assert expected in message
            assert message.startswith(("spec, rank 0 from this one: ", "dict_keys"))


@pytest.mark.parametrize("values", [1, 5, 6, 100])
@pytest.mark.parametrize("width", [(), (2,)])
def test_rows_come_back_as_they_were_added(values: int, width: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "VALUES", values)
    batches = [torch.rand(count, *width) for count in (3, 0, 3, 7, 1, 2)]
    kept = rows.Rows()
    assert kept.all() is None
    for _ in range(2):
        for batch in batches:
            kept.add(batch)
        assert torch.equal(kept.all(), torch.cat(batches))
        assert all(part.untyped_storage().nbytes() == part.nbytes for part in kept.parts()[-1:])
        kept.clear()
