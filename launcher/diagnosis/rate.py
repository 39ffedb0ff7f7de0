"""What the course of the loss says of the learning rate."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from launcher.diagnosis.curves import (
    Curve,
    Point,
    clearest,
    curve,
    level,
    long_enough,
    lowest,
    noise,
    parts,
    peak_rate,
    rounded,
    scores,
    solved,
    typical,
)
from launcher.diagnosis.fit import FLAT, POOR, RISE, ended_learning
from launcher.diagnosis.verdict import Evidence, Records, Verdict

BACK = 1.25
"""Times the lowest stretch of the training loss."""
BACK_UP = 0.1
"""Of the first loss: by so much it has to rise for a divergence."""
OVER = 3.0
"""Times the later loss: a first stretch that was so high was thrown there by its own steps."""
THROWN = 30.0
"""A cross-entropy that no network has before it is trained: that of n classes begins about ln n."""
SLOW = 0.25
"""Share of the first loss by which a training with too low a rate has come down at most."""
STEADY = 0.4
"""Of the mean slope: a loss that still falls so fast at the end was not let to arrive."""
SURE = 4.0
"""Times the noise: a fall that is one."""
SAME_RATE = 0.5
"""Of the rate at which the standstill began: less of it, and a schedule has ended the learning on purpose."""


def diverging(records: Records) -> Iterator[Verdict]:
    train, rate = curve(records.rows, "train/loss"), peak_rate(records.rows)
    told = became_nan(records) or gone_up(train) or thrown_up(records)
    if told is None or rate is None:
        return
    words, evidence = told
    yield Verdict(
        name="diverging",
        words=f"{words}: a learning rate of {rate.value:.4g} is too high",
        evidence=(*evidence, rate.evidence),
        field="train.optimizer.lr",
        to=rounded(rate.value / 10),
        also="train.schedule.warmup=5%, train.clip_grad_norm=1.0",
    )


Told = tuple[str, tuple[Evidence, ...]] | None


def became_nan(records: Records) -> Told:
    """From the newest failure, unless the run was done after all."""
    entries = [entry for entry in records.entries if entry.get("event") in ("failure", "done")]
    if not entries or entries[-1].get("kind") != "nan":
        return None
    step = entries[-1].get("step") or (records.rows[-1]["step"] if records.rows else 0)
    before = curve(records.rows, "train/loss")[-1:]
    seen = f", after {before[0].value:.4g} at step {before[0].step}" if before else ""
    evidence = Evidence(metric="train/loss", value="not finite", step=step)
    return f"the loss or the weights became infinite or NaN by step {step}{seen}", (*(each.evidence for each in before), evidence)


def gone_up(train: Curve) -> Told:
    """A loss that ends above where it began, or well above where it has been."""
    if not long_enough(train, rows=4, steps=10):
        return None
    stretches = [typical(part) for part in parts(train, 8)]
    first, end, low = train[0], stretches[-1], lowest(stretches)
    rise = end.value - low.value
    back = end.value >= BACK * low.value and rise >= BACK_UP * first.value and end.value >= 0.9 * stretches[-2].value
    if end.value < RISE * first.value and not back:
        return None
    return f"train/loss was {low.value:.4g} {place(low)} and is {end.value:.4g} {place(end)}", (low.evidence, end.evidence)


def thrown_up(records: Records) -> Told:
    """A classification's loss that the first steps brought to where no untrained network has it, and that stayed there.

    A regression's first loss may have any size.
    """
    train, found = curve(records.rows, "train/loss"), [points for points in scores(records.rows) if points[0].metric != "val/r2"]
    if not long_enough(train) or not found or max(points[-1].value for points in found) > 0.6:
        return None
    first, later = train[0], level(train[len(train) // 2 :])
    if first.value < OVER * later or (first.value < THROWN and not ended_learning(train)):
        return None
    words = f"train/loss was thrown up to {first.value:.4g} by the first steps and stays about {later:.4g}"
    return words, (first.evidence, train[-1].evidence, *(points[-1].evidence for points in found[:1]))


def too_low(records: Records) -> Iterator[Verdict]:
    train, rate = curve(records.rows, "train/loss"), peak_rate(records.rows)
    if not long_enough(train) or rate is None or solved(records.rows, enough=0.6) or train[0].value <= 0:
        return
    told = clearest(records.rows)
    levels, fallen = levels_of(told), train[0].value - level(parts(train, 4)[-1])
    early = told[0].value - levels[0] > levels[0] - levels[-1]
    little = SURE * noise(told) < levels[0] - levels[-1] < SLOW * levels[0]
    if early or not little or not 0 <= fallen < SLOW * train[0].value:
        return
    if not falls_on(levels):
        return
    yield Verdict(
        name="rate too low",
        words=f"{told[0].metric} fell from {told[0].value:.4g} to {told[-1].value:.4g} in {told[-1].step} steps, as fast "
        f"at the end as in the middle: a learning rate of {rate.value:.4g} does not get there",
        evidence=(told[0].evidence, told[-1].evidence, rate.evidence),
        field="train.optimizer.lr",
        to=rounded(rate.value * 10),
        also="a longer run, or an optimizer that adapts its steps (adamw)",
    )


def levels_of(points: Curve) -> list[float]:
    return [level(part) for part in parts(points, 4)]


def falls_on(levels: list[float]) -> bool:
    """In every quarter, and in the last one not much less than in the others."""
    falls = [before - after for before, after in pairwise(levels)]
    return not falls or (min(falls) > 0 and falls[-1] >= STEADY * sum(falls) / len(falls))


def plateau(records: Records) -> Iterator[Verdict]:
    train, rate = curve(records.rows, "train/loss"), curve(records.rows, "lr")
    if not long_enough(train) or not rate or solved(records.rows, enough=0.9):
        return
    first, still = train[0], train[len(train) // 2 :]
    begun = [point for point in rate if point.step >= still[0].step]
    before, after = (level(part) for part in parts(still, 2))
    learned = first.value > 0 and after < POOR * first.value and after > 0.05 * first.value
    if not learned or before - after >= FLAT * before or not ended_learning(train):
        return
    if begun[-1].value < SAME_RATE * begun[0].value:
        return
    yield Verdict(
        name="plateau",
        words=f"train/loss stands still since {place(still[0])[3:]} ({still[0].value:.4g}, now {train[-1].value:.4g}), with a "
        f"learning rate of {begun[-1].value:.4g} all the while",
        evidence=(first.evidence, still[0].evidence, train[-1].evidence, begun[-1].evidence),
        field="train.schedule",
        to="{target: cosine, warmup: 5%}",
        also="train.schedule=plateau, which lowers the rate where an evaluation brings nothing; a larger network",
    )


def place(point: Point) -> str:
    return f"at epoch {point.epoch:g}" if point.epoch is not None else f"at step {point.step}"
