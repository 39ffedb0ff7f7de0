"""What is said of a run, by what stands in its files: a table of cases, sick and healthy."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from launcher.diagnosis import THEMES, diagnose, verdicts_of
from launcher.load import parse_job
from launcher.spec.docs import explain

Rows = list[dict[str, Any]]
EVALUATED = 20
"""Evaluations of a course, one at the end of each epoch of 10 steps."""


def course(first: float, last: float, *, bend: float = 0.0, noise: float = 0.0, rows: int = EVALUATED) -> list[float]:
    """From one value to another: a straight line, or (`bend`) one that falls early."""
    found = []
    for number in range(rows):
        done = number / (rows - 1)
        share = done if not bend else (1 - math.exp(-bend * done)) / (1 - math.exp(-bend))
        found.append((first + (last - first) * share) * (1 + noise * (-1) ** number))
    return found


def rows(train: list[float | None], *, lr: float | list[float] = 0.1, **columns: list[Any]) -> Rows:
    """`val_loss` is logged as val/loss."""
    rates = lr if isinstance(lr, list) else [lr] * len(train)
    found = [{"step": 10 * at, "epoch": float(at), "train/loss": loss, "lr": rate}
             for at, (loss, rate) in enumerate(zip(train, rates, strict=True), 1)]  # fmt: skip
    for name, values in columns.items():
        for row, value in zip(found, values, strict=True):
            row[name.replace("_", "/", 1)] = value
    return found


def layers(**norms: float) -> Rows:
    """Constant gradient norms of groups in a training that learns nothing."""
    found = rows([2.3] * EVALUATED, val_loss=[2.3] * EVALUATED)
    return [row | {f"grad/{name}": norm for name, norm in norms.items()} for row in found]


def timings(count: int = 6, *, steps: int = 100, **fields: Any) -> Rows:
    return [{"step": steps * at, "attempt": 1, "step_s": [0.1], "data_share": [0.01], "checkpoint_s": 0.0, "evaluation_s": 0.0}
            | fields for at in range(1, count + 1)]  # fmt: skip


def event(name: str, **details: Any) -> dict[str, Any]:
    return {"time": "2026-01-01T00:00:00.000+00:00", "event": name, "attempt": 1, **details}


FALLS = course(2.3, 0.1, bend=4)
VALIDATES = course(2.2, 0.3, bend=4)
U = [*course(2.2, 0.9, rows=8), *course(0.95, 1.8, rows=12)]
FLAT_TAIL = [*course(2.3, 1.2, bend=3, rows=6), *course(1.2, 1.199, noise=0.005, rows=14)]
SAWTOOTH = [*course(2.0, 0.8, rows=5), *course(1.5, 1.7, noise=0.1, rows=15)]
NAN = event("failure", kind="nan", step=55, reason="the loss became NaN")
ONE_CLASS = {"class": 0, "share": 1.0, "of_targets": 0.95}
STARTS = {"step_s": [0.5], "data_share": [0.9]}
TWO_RANKS = {"step_s": [0.1, 0.1], "data_share": [0.01, 0.01]}

CASES: dict[str, tuple[dict[str, Any], list[str]]] = {
    # what stands in the files -> names of the verdicts
    "nothing": ({}, []),
    "a smoke test of three steps": ({"rows": rows([2.3, 2.4, 2.5])}, []),
    "learns": ({"rows": rows(FALLS, val_loss=VALIDATES)}, []),
    "learns, with noise": ({"rows": rows(course(2.3, 0.1, bend=4, noise=0.1), val_loss=VALIDATES)}, []),
    "learns, and was not evaluated": ({"rows": rows(FALLS)}, []),
    "learns more slowly towards the end": ({"rows": rows(course(2.3, 0.9, bend=2), val_loss=course(2.3, 1.0, bend=2))}, []),
    "warm-up and cosine to 0": (
        {"rows": rows(FLAT_TAIL, lr=[0.05, *course(0.1, 0.0, rows=19)], val_loss=course(2.2, 1.2, bend=4))}, []),
    "overfits": ({"rows": rows(FALLS, val_loss=U)}, ["overfitting"]),
    "overfits, with an accuracy that stands": (
        {"rows": rows(FALLS, val_loss=U, val_accuracy=[0.6] * 20)}, ["overfitting"]),
    "surer of itself, and righter": ({"rows": rows(FALLS, val_loss=U, val_accuracy=course(0.5, 0.9))}, []),
    "validation noise of a network that knows its task": (
        {"rows": rows(FALLS, val_loss=[*course(2.2, 0.09, rows=8), *course(0.09, 0.12, rows=12)])}, []),
    "two evaluations after the best are not enough": (
        {"rows": rows(FALLS, val_loss=[*course(2.2, 0.9, rows=18), 1.2, 1.3])}, []),
    "validation rises, and so does training": ({"rows": rows([*course(2.0, 1, rows=8), *course(1.1, 2.1, rows=12)], val_loss=U)},
                                               ["diverging"]),
    "training rises too, but less": ({"rows": rows([*course(2.3, 1.0, bend=4, rows=8), *course(1.0, 1.2, rows=12)], val_loss=U)},
                                     ["plateau"]),
    "training stays above validation": ({"rows": rows(course(2.3, 1.85, bend=4), val_loss=U)}, []),
    "a loss that rises under an accuracy that is good": (
        {"rows": rows(FALLS, val_loss=U, val_accuracy=[0.97] * 20)}, []),
    "overfits, and the first evaluation was no number": (
        {"rows": rows(FALLS, val_loss=[math.nan, *U[1:]])}, ["overfitting"]),
    "validation far above a training that stands": (
        {"rows": rows(course(2.3, 1.7, bend=6), val_loss=[2.6] * 20)}, []),
    "underfits, and one of two scores is good": (
        {"rows": rows(course(2.3, 1.7, bend=6), val_loss=course(2.3, 1.7, bend=6), val_accuracy=[0.9] * 20, val_f1=[0.2] * 20)},
        ["underfitting"]),
    "twenty steps, each with its row": (
        {"rows": [row | {"step": row["step"] // 10} for row in rows(course(2.3, 1.7, bend=6))]}, []),
    "underfits": ({"rows": rows(course(2.3, 1.7, bend=6), val_loss=course(2.3, 1.7, bend=6))}, ["underfitting"]),
    "validation still falls": (
        {"rows": rows(course(2.3, 1.7, bend=6), val_loss=course(2.2, 1.6, bend=0.1))}, []),
    "a score that is good enough": (
        {"rows": rows(course(2.3, 1.7, bend=6), val_loss=course(2.3, 1.7, bend=6), val_accuracy=[0.8] * 20)}, []),
    "rises from the first row": ({"rows": rows(course(2.3, 4.0))}, ["diverging"]),
    "comes back up": ({"rows": rows(SAWTOOTH)}, ["diverging"]),
    "ends a little above where it began": ({"rows": rows(course(2.3, 2.7))}, ["diverging"]),
    "comes back up by little": ({"rows": rows([*course(2.3, 0.05, bend=4, rows=12), *course(0.05, 0.07, rows=8)])}, []),
    "a regression that its first steps threw up": (
        {"rows": rows([2000.0, *course(3.1, 3.0, noise=0.1, rows=19)], val_r2=[0.1] * 20)}, []),
    "one spike is no divergence": ({"rows": rows([*FALLS[:12], 3.0, *FALLS[13:]])}, []),
    "one row of two steps lies low": (
        {"rows": rows([*course(0.9, 0.4, bend=6, rows=14), 0.2, *course(0.4, 0.39, noise=0.05, rows=5)],
                      lr=course(0.1, 0.0))}, []),
    "thrown up by the first steps": (
        {"rows": rows([2000.0, *course(3.1, 3.0, noise=0.1, rows=19)], lr=10.0, val_accuracy=[0.1] * 20)}, ["diverging"]),
    "a regression whose targets are large": ({"rows": rows([29000.0, *course(9000.0, 2900.0, bend=5, rows=19)])}, []),
    "NaN ended it": ({"rows": rows([2.3, 2.2, 50.0]), "entries": [NAN]}, ["diverging"]),
    "NaN, then resumed and done": ({"rows": rows(FALLS), "entries": [NAN, event("done")]}, []),
    "killed, not NaN": ({"rows": rows(FALLS), "entries": [event("failure", kind="signal", step=7)]}, []),
    "a loss that is no number in one row": ({"rows": rows([*FALLS[:5], None, *FALLS[6:]])}, []),
    "rate too low": ({"rows": rows(course(2.3, 2.1), val_loss=course(2.3, 2.1))}, ["rate too low"]),
    "rate too low, the noise is larger than the fall": ({"rows": rows(course(2.3, 2.29, noise=0.02))}, []),
    "falls in every quarter, and the noise is larger": ({"rows": rows([2.3, *course(2.3, 2.1, noise=0.05, rows=24)[1:]])}, []),
    "falls fast, then slowly": ({"rows": rows([2.3, *course(2.0, 1.9, rows=19)])}, ["underfitting"]),
    "falls ever more slowly": ({"rows": rows(course(2.3, 1.9, bend=3.5))}, ["underfitting"]),
    "a plateau at a constant rate": ({"rows": rows(FLAT_TAIL, val_loss=course(2.2, 1.2, bend=4))}, ["plateau"]),
    "the same, with a rate that was lowered": ({"rows": rows(FLAT_TAIL, lr=course(0.1, 0.0))}, []),
    "a plateau where nothing is left to learn": ({"rows": rows(course(2.3, 0.01, bend=20))}, []),
    "vanishing": ({"rows": layers(first=1e-12, second=1e-8, third=1e-3, last=0.5)}, ["vanishing gradients"]),
    "vanishing below what fp32 can square": ({"rows": layers(first=0.0, second=1e-21, third=1e-9, last=0.5)},
                                             ["vanishing gradients"]),
    "gradients that differ as usual": ({"rows": [row | {"grad/a": 0.01, "grad/b": 0.1, "grad/c": 1.0} for row in rows(FALLS)]},
                                       []),
    "two groups have no depth": ({"rows": [row | {"grad/a": 1e-12, "grad/b": 0.5} for row in rows(FALLS)]}, []),
    "a frozen group": ({"rows": [row | {"grad/a": 0.0, "grad/b": 0.1, "grad/c": 1.0, "grad/d": 0.3} for row in rows(FALLS)]}, []),
    "a head that is done learning": (
        {"rows": [row | {"grad/a": 0.3, "grad/b": 0.1, "grad/c": 1e-7} for row in rows(FALLS)]}, []),
    "exploding": ({"rows": rows(course(2.3, 2.3, noise=0.01), grad_rnn=[*[1.0] * 8, 5e4, *[1.0] * 11])}, ["exploding gradients"]),
    "a norm that falls from a high start": ({"rows": rows(FALLS, grad_a=course(300.0, 2.0, bend=6))}, []),
    "the same, and nothing learned yet": ({"rows": rows(course(2.6, 2.5, noise=0.03), grad_a=course(300.0, 90.0))}, []),
    "the same, in a few steps": ({"rows": rows(course(2.6, 2.6, rows=4), grad_a=course(300.0, 250.0, rows=4))}, []),
    "norms as large as the targets": ({"rows": rows(course(9e6, 1e6, bend=4), grad_a=course(5e4, 4e4, noise=0.3))}, []),
    "a norm that does not come down, and no learning": (
        {"rows": rows(course(2.3, 2.3, noise=0.01), grad_a=course(5e4, 4e4))}, ["exploding gradients"]),
    "a spike that the loss does not notice": ({"rows": rows(FALLS, grad_a=[*[1.0] * 8, 500.0, *[1.0] * 11])}, []),
    "norms that differ from batch to batch": (
        {"rows": rows([*FALLS[:9], 1.9, 1.7, 1.5, *FALLS[12:]], grad_a=[*[700.0, 20.0] * 4, 2000.0, *[300.0] * 11])}, []),
    "one sample alone in a batch, of norms as large as the targets": (
        {"rows": rows([*FALLS[:9], 1.9, 1.7, 1.5, *FALLS[12:]], grad_a=[*[700.0] * 8, 9000.0, *[700.0] * 11])}, []),
    "a spike among losses that differ": (
        {"rows": rows([9.0, 5.0, 8.0, 9.0, 4.0, 6.0, 5.0, 7.0, 9.0, 5.0, 8.0, *course(6.0, 4.0, rows=9, noise=0.2)],
                      grad_a=[*[3.0] * 7, 500.0, *[3.0] * 12])}, []),
    "a spike that throws the loss up for a while": (
        {"rows": rows([*FALLS[:9], 1.9, 1.7, 1.5, *FALLS[12:]], grad_a=[*[1.0] * 8, 500.0, *[1.0] * 11])},
        ["exploding gradients"]),
    "exploding into NaN": (
        {"rows": rows([2.3, 2.4, 9.0], grad_rnn=[2.0, 900.0, 1e6]), "entries": [NAN]}, ["exploding gradients"]),
    "steps as long as the weights": (
        {"rows": rows(course(30.0, 350.0), lr=10.0, update_head=[0.9] * 20)}, ["exploding gradients"]),
    "long steps that do no harm": ({"rows": rows(FALLS, update_head=[0.9] * 20)}, []),
    "a norm that is clipped": ({"rows": [row | {"grad_norm": 500.0 if row["step"] == 50 else 1.0} for row in rows(FALLS)]}, []),
    "clipped, and diverging all the same": (
        {"rows": [row | {"grad_norm": 5000.0 if row["step"] > 100 else 1.0} for row in rows(SAWTOOTH)]}, ["exploding gradients"]),
    "dead units": ({"rows": rows(FLAT_TAIL, dead_1=[0.1, *[0.9] * 19])}, ["dead units"]),
    "units that came back": ({"rows": rows(FALLS, dead_1=[*[0.9] * 15, *[0.2] * 5])}, []),
    "one class at the end": (
        {"rows": rows(FLAT_TAIL, val_accuracy=[0.95] * 20), "entries": [event("one_class", step=200, **ONE_CLASS)]},
        ["collapse to one class"]),
    "one class in a smoke test": (
        {"rows": rows([2.3, 2.2], val_accuracy=[0.2, 0.2]), "entries": [event("one_class", step=20, **ONE_CLASS)]}, []),
    "one class in the beginning": (
        {"rows": rows(FALLS, val_accuracy=course(0.5, 0.9)), "entries": [event("one_class", step=10, **ONE_CLASS)]}, []),
    "waits for batches": ({"timings": timings(data_share=[0.5])}, ["data-bound"]),
    "one rank of two waits": ({"timings": timings(step_s=[0.1, 0.1], data_share=[0.0, 0.6])}, ["data-bound"]),
    "waits, for a second in all": ({"timings": timings(steps=10, step_s=[0.05], data_share=[0.5])}, []),
    "waits in the first row alone": ({"timings": [timings(1, step_s=[0.5], data_share=[0.9])[0], *timings()[1:]]}, []),
    "waits a little all the time": ({"timings": timings(data_share=[0.2])}, []),
    "waits in the first row of a second attempt": (
        {"timings": [*timings(3), *(row | {"attempt": 2, "step": row["step"] + 300} | slow
                                    for row, slow in zip(timings(3), (STARTS, {}, {}), strict=True))]}, []),
    "saves all the time": ({"timings": timings(checkpoint_s=8.0)}, ["checkpoint-bound"]),
    "saves, and it costs little": ({"timings": timings(checkpoint_s=0.3)}, []),
    "saves for seconds of minutes": ({"timings": timings(steps=300, checkpoint_s=1.5)}, []),
    "a rank that lags": ({"timings": timings(**TWO_RANKS, compute_s=[0.05, 0.09])}, ["straggling rank"]),
    "a rank that lags now and then": (
        {"timings": [row | {"compute_s": [0.05, 0.05] if row["step"] % 200 else [0.05, 0.09]}
                     for row in timings(**TWO_RANKS)]}, []),
    "a rank that is a fifth slower": ({"timings": timings(**TWO_RANKS, compute_s=[0.09, 0.075])}, []),
    "ranks that are alike": ({"timings": timings(**TWO_RANKS, compute_s=[0.09, 0.085])}, []),
    "overflows all the time": ({"timings": timings(skipped_steps=20, loss_scale=1.0)}, ["fp16 overflow storm"]),
    "overflows while the scale settles": (
        {"timings": [timings(1, steps=50, skipped_steps=12)[0], *timings(skipped_steps=0, loss_scale=1024.0)[1:]]}, []),
    "overflows in the first two rows": (
        {"timings": [row | {"skipped_steps": skipped}
                     for row, skipped in zip(timings(steps=25), (10, 8, 0, 0, 0, 0), strict=True)]}, []),
    "an overflow now and then": ({"timings": timings(skipped_steps=1)}, []),
}  # fmt: skip
SICK = [case for case, (_, names) in CASES.items() if names]


@pytest.mark.parametrize("case", CASES)
def test_cases(case: str) -> None:
    files, names = CASES[case]
    assert [verdict.name for verdict in diagnose(**files)] == names


def test_every_theme_has_a_case_in_which_it_speaks() -> None:
    told = {name for _, names in CASES.values() for name in names}
    assert len(told) == len(THEMES)


@pytest.mark.parametrize("case", SICK)
def test_no_verdict_without_evidence_and_a_field_to_change(case: str, train: str) -> None:
    for verdict in diagnose(**CASES[case][0]):
        assert verdict.words
        assert verdict.to
        assert verdict.evidence
        assert json.loads(json.dumps(verdict.as_json()))["evidence"][0]["step"] >= 0
        assert explain(verdict.field).doc
        if verdict.field != "train.model":  # which says it in words
            parse_job(train, overrides=[f"{verdict.field}={verdict.to}"])


def test_evidence_is_what_stands_in_the_rows() -> None:
    (verdict,) = diagnose(rows(FALLS, val_loss=U))
    best, last, *_ = verdict.evidence
    assert (best.metric, best.step, best.epoch, best.value) == ("val/loss", 80, 8.0, pytest.approx(0.9))
    assert (last.step, last.value) == (200, pytest.approx(1.8))
    assert "val/loss was lowest at epoch 8 (step 80), 0.9, and rose to 1.8" in verdict.words


def test_the_rate_to_try_is_a_tenth_or_ten_times() -> None:
    (high,), (low,) = diagnose(rows(SAWTOOTH, lr=[0.01, *[0.3] * 19])), diagnose(rows(course(2.3, 2.1), lr=1e-5))
    assert (high.field, high.to) == ("train.optimizer.lr", "0.03")
    assert (low.field, low.to) == ("train.optimizer.lr", "0.0001")


@pytest.mark.parametrize(("lr", "to"), [(0.01, "1"), (10.0, "0.05")])
def test_clipping_is_to_a_step_of_half_a_unit(lr: float, to: str) -> None:
    (verdict,) = diagnose(rows(course(2.3, 2.3, noise=0.01), lr=lr, grad_rnn=[*[1.0] * 8, 5e4, *[1.0] * 11]))
    assert (verdict.field, verdict.to) == ("train.clip_grad_norm", to)


def test_lines_that_are_no_rows_are_passed_over(by_hand: Any) -> None:
    run = by_hand(rows=rows(FALLS, val_loss=U))
    with run.metrics.open("a") as file:
        file.write('[1]\n{"train/loss": 1.0}\n')
    assert [verdict.name for verdict in verdicts_of(run)] == ["overfitting"]


@pytest.mark.parametrize(("backend", "field"), [("slurm", "resources.slurm.exclude"), ("local", "resources.spares")])
def test_a_straggler_is_told_with_its_node(backend: str, field: str) -> None:
    slow = timings(step_s=[0.1] * 4, data_share=[0.0] * 4, compute_s=[0.05, 0.05, 0.05, 0.09])
    entries = [event("supervising", backend=backend), event("attempt", world_size=4, nodes=2, hosts={"0": "n1", "1": "n2"})]
    (verdict,) = diagnose(timings=slow, entries=entries)
    assert "rank 3 on node 1" in verdict.words
    assert verdict.field == field


@pytest.mark.parametrize(("rows", "words"), [
    (timings(step_s=[0.1, 0.1], data_share=[0.0, 0.1], compute_s=[0.07, 0.09]),
     "efficiency 80% (of the time of 2 ranks went to gradients of their own samples; 5% to waiting for batches, 15% to each"),
    ([*timings(compute_s=[0.09]), *(row | {"step": row["step"] + 600} for row in timings(**TWO_RANKS, compute_s=[0.05, 0.05]))],
     "efficiency 50% (of the time of 2 ranks"),
    (timings(compute_s=[0.09]), None),
    (timings(1, **TWO_RANKS, compute_s=[0.05, 0.05]), None),
    ([], None),
])  # fmt: skip
def test_the_summary_tells_how_well_ranks_scale(launch: Any, by_hand: Any, done: Rows, rows: Rows, words: str | None) -> None:
    by_hand(ledger=done).timings.write_text("".join(json.dumps(row) + "\n" for row in rows))
    shown = launch("status", "last").out
    assert (words in " ".join(shown.split())) if words else ("scaling" not in shown)


def test_the_command_and_the_summary_tell(launch: Any, by_hand: Any, done: Rows) -> None:
    run = by_hand(ledger=done, rows=rows(FALLS, val_loss=U))
    said = launch("diagnose", "last")
    assert said.code == 0
    assert said.out.startswith("overfitting: val/loss was lowest at epoch 8")
    assert "  evidence  val/loss 1.8 at epoch 20" in said.out
    assert "  change    train.early_stopping: {monitor: val/loss" in said.out
    assert [each["name"] for each in launch("diagnose", run.id, "--json").json] == ["overfitting"]
    shown = launch("status", "last").out
    assert "diagnosis  overfitting: val/loss was lowest" in shown
    assert "change     train.early_stopping" in shown


def test_a_healthy_run_is_said_to_be_one(launch: Any, by_hand: Any, done: Rows) -> None:
    by_hand(ledger=done, rows=rows(FALLS, val_loss=VALIDATES))
    assert "nothing is wrong with" in launch("diagnose").out
    assert launch("diagnose", "--json").json == []
    assert "diagnosis" not in launch("status").out


def test_before_the_first_row_there_is_nothing_to_judge_by(launch: Any, by_hand: Any) -> None:
    by_hand()
    assert "no row yet" in launch("diagnose").out
