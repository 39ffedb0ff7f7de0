"""How well the network fits: too well, or not at all."""

from __future__ import annotations

from collections.abc import Iterator

from launcher.diagnosis.curves import Curve, Point, clearest, curve, level, long_enough, lowest, noise, parts, scores, solved
from launcher.diagnosis.verdict import Records, Verdict

RISE = 1.1
"""Validation loss over its lowest value."""
AFTER = 3
"""Evaluations that have to lie after the lowest one."""
NOISE = 0.2
"""Of the first validation loss: below this share of it the rest is a network that knows its task."""
POOR = 0.6
"""Share of the first training loss that is left where nothing was learned."""
FLAT = 0.05
"""Share by which the loss falls over the last quarter of a training that has ended learning."""


def overfitting(records: Records) -> Iterator[Verdict]:
    val, train = curve(records.rows, "val/loss"), curve(records.rows, "train/loss")
    if len(val) <= AFTER or not train:
        return
    best, last = lowest(val), val[-1]
    then = min(train, key=lambda point: abs(point.step - best.step))
    later = [point for point in val if point.step > best.step]
    risen = len(later) >= AFTER and level(later[-AFTER:]) >= RISE * best.value and last.value >= NOISE * val[0].value
    if not risen or train[-1].value >= then.value or train[-1].value >= last.value:
        return
    if gained(records, best) or solved(records.rows, enough=0.95):
        return
    yield Verdict(
        name="overfitting",
        words=f"val/loss was lowest {at(best)}, {best.value:.4g}, and rose to {last.value:.4g}, while train/loss fell on from "
        f"{then.value:.4g} to {train[-1].value:.4g}: since then it learns the training set by heart",
        evidence=(best.evidence, last.evidence, then.evidence, train[-1].evidence),
        field="train.early_stopping",
        to="{monitor: val/loss, patience: 3, mode: min, restore_best: true}",
        also="train.optimizer.weight_decay, dropout in train.model, train.data.augment, more data",
    )


def gained(records: Records, best: Point) -> bool:
    """A score that rose on after the loss was lowest: the network is surer of itself, and right."""
    for points in scores(records.rows):
        then = max((point.value for point in points if point.step <= best.step), default=0.0)
        if level(points[-AFTER:]) > then + 0.01:
            return True
    return False


def underfitting(records: Records) -> Iterator[Verdict]:
    train, val = curve(records.rows, "train/loss"), curve(records.rows, "val/loss")
    if not long_enough(train) or solved(records.rows, enough=0.6):
        return
    first, last = train[0], train[-1]
    left = level(parts(train, 4)[-1])
    if first.value <= 0 or left < POOR * first.value or left > RISE * first.value or not ended_learning(clearest(records.rows)):
        return
    if val and level(val[-AFTER:]) > RISE * left:
        return
    evidence = [first.evidence, last.evidence, *([val[-1].evidence] if val else [])]
    yield Verdict(
        name="underfitting",
        words=f"train/loss came from {first.value:.4g} to {last.value:.4g} only and does not fall any more"
        + (f", val/loss is {val[-1].value:.4g}" if val else "")
        + ": the network does not fit even what it is trained on",
        evidence=tuple(evidence),
        field="train.model",
        to="a wider or deeper network (mlp: hidden: [256, 256])",
        also="less weight_decay and dropout, a higher train.optimizer.lr, inputs that are normalised",
    )


def ended_learning(points: Curve) -> bool:
    """Whether the loss of the last quarter is that of the quarter before."""
    if noise(points[len(points) // 2 :]) > FLAT / 2 * points[-1].value:
        return False  # nobody can tell
    *_, before, end = (level(part) for part in parts(points, 4))
    return before - end < FLAT * before


def at(point: Point) -> str:
    return f"at epoch {point.epoch:g} (step {point.step})" if point.epoch is not None else f"at step {point.step}"
