"""What the gradients say, layer by layer (`log.gradients`), or as a whole where they are clipped."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import median

from launcher.diagnosis.curves import Curve, Point, apart, curve, level, long_enough, lowest, parts, peak_rate, rounded, typical
from launcher.diagnosis.rate import BACK, SURE, became_nan, gone_up
from launcher.diagnosis.verdict import Evidence, Records, Row, Verdict

VANISHED = 1e-4
"""Of the largest group's gradient: less does not move the weights of a layer."""
JUMP = 30.0
"""Times the usual norm."""
HUGE = 100.0
"""A gradient's norm that no training has in its usual course."""
STAYS = 0.5
"""Of the norm that it began with: a norm that has come down by more is on its way to the usual."""
LEARNED = 0.95
"""Of the first loss; what ends above it has learned nothing."""
REPLACED = 0.3
"""Of a weight's norm; a training that learns changes about a thousandth of it in a step."""
STEP = 0.5
"""Rate times clipped norm: the longest step that clipping should let pass."""
DEAD = 0.5
"""Share of units that answer 0 to every sample."""


def groups(rows: Sequence[Row], kind: str) -> dict[str, Curve]:
    """By group, in the order of the layers."""
    keys = dict.fromkeys(key for row in rows for key in row if key.startswith(f"{kind}/"))
    return {key: found for key in keys if (found := curve(rows, key))}


def vanishing(records: Records) -> Iterator[Verdict]:
    norms = {key: points for key, points in groups(records.rows, "grad").items() if any(point.value for point in points)}
    if len(norms) < 3:
        return
    logs = {key: median(math.log10(max(point.value, 1e-45)) for point in points) for key, points in norms.items()}
    least, most = min(logs, key=logs.__getitem__), max(logs, key=logs.__getitem__)
    order = list(logs)
    if (
        logs[least] - logs[most] > math.log10(VANISHED)
        or order.index(least) >= len(order) / 2
        or order.index(least) > order.index(most)
    ):
        return
    low, high = norms[least][-1], norms[most][-1]
    yield Verdict(
        name="vanishing gradients",
        words=f"the gradient of {named(least)} has a norm of {low.value:.2g}, that of {named(most)} {high.value:.2g}: what comes "
        "back to the first layers does not move them",
        evidence=(low.evidence, high.evidence),
        field="train.model.activation",
        to="relu",
        also="train.init=kaiming_normal, batch_norm in train.model, fewer layers",
    )


def exploding(records: Records) -> Iterator[Verdict]:
    """By the norm, or where clipping hides it, or the units are saturated by it, by what a step does to the weights."""
    gone = became_nan(records) is not None or gone_up(curve(records.rows, "train/loss")) is not None
    told = norm_jumped(records.rows, gone=gone) or (weights_replaced(records.rows) if gone else None)
    if told is None:
        return
    words, evidence = told
    rate = peak_rate(records.rows)
    yield Verdict(
        name="exploding gradients",
        words=words,
        evidence=evidence,
        field="train.clip_grad_norm",
        to=rounded(min(1.0, STEP / rate.value)) if rate is not None and rate.value else "1.0",
        also="a smaller train.optimizer.lr, train.schedule.warmup=5%, train.init=orthogonal in a recurrent network",
    )


Told = tuple[str, tuple[Evidence, ...]] | None


def norm_jumped(rows: Sequence[Row], *, gone: bool) -> Told:
    """A norm that rose far above where it had been, or does not come down from where it began.

    A deep network with batch norm begins with a high one that falls; and what the loss does not notice is no explosion.
    """
    norms, clipped = whole(rows), any("grad_norm" in row for row in rows)
    if not norms or (clipped and not gone):
        return None
    train, worst = curve(rows, "train/loss"), max(norms, key=lambda point: point.value)
    earlier = [point for point in norms if point.step < worst.step] or [worst]
    before, lost = lowest([typical(part) for part in parts(earlier, 4)]), gone or learned_nothing(train)
    if worst.value < HUGE:
        return None
    if worst.value >= JUMP * before.value and (lost or thrown_back(train, worst.step)):
        words = f"it was {before.value:.3g} at step {before.step}"
    elif lost and stays_high(norms):
        before, words = norms[-1], f"it is {norms[-1].value:.3g} at step {norms[-1].step}"
    else:
        return None
    return f"the gradient's norm reached {worst.value:.3g} at step {worst.step}; {words}", (worst.evidence, before.evidence)


def stays_high(norms: Sequence[Point]) -> bool:
    stretches = [level(part) for part in parts(norms, 4)]
    return stretches[-1] >= max(HUGE, STAYS * stretches[0])


def learned_nothing(train: Curve) -> bool:
    return long_enough(train) and level(parts(train, 4)[-1]) >= LEARNED * train[0].value


def thrown_back(train: Curve, at: int) -> bool:
    """Whether the loss went up from that step on, by more than batches differ."""
    before, after = [point for point in train if point.step < at][-3:], [point for point in train if point.step >= at][:3]
    if not before or not after:
        return False
    rise = level(after) - level(before)
    return level(after) >= BACK * level(before) and rise > SURE * apart(train)


def weights_replaced(rows: Sequence[Row]) -> Told:
    updates = groups(rows, "update")
    worst = max(updates, key=lambda key: level(updates[key]), default=None)
    if worst is None or level(updates[worst]) < REPLACED:
        return None
    usual, loss = typical(updates[worst]), curve(rows, "train/loss")[-1]
    words = (
        f"each step changes {named(worst)} by about {usual.value:.0%} of its weights' norm, and train/loss is {loss.value:.4g}"
    )
    return words, (usual.evidence, loss.evidence)


def whole(rows: Sequence[Row]) -> list[Point]:
    """The whole gradient's norm: as it is clipped, else put together from its groups'."""
    if told := curve(rows, "grad_norm"):
        return told
    found = []
    for row in rows:
        own = [point.value for key in row if key.startswith("grad/") for point in curve([row], key)]
        if own:
            found.append(Point("grad", row["step"], row.get("epoch"), math.hypot(*own)))
    return found


def dead_units(records: Records) -> Iterator[Verdict]:
    dead = groups(records.rows, "dead")
    late = {key: points for key, points in dead.items() if min(point.value for point in points[-3:]) >= DEAD}
    if not late:
        return
    worst = max(late, key=lambda key: level(late[key][-3:]))
    share, first = late[worst][-1], next(point for point in late[worst] if point.value >= DEAD)
    more = f" (and in {len(late) - 1} more of {len(dead)} groups)" if len(late) > 1 else ""
    yield Verdict(
        name="dead units",
        words=f"{share.value:.0%} of the units of {named(worst)}{more} answer 0 to every sample since step {first.step}: no "
        "gradient comes through them any more",
        evidence=(first.evidence, share.evidence),
        field="train.model.activation",
        to="leaky_relu",
        also="a smaller train.optimizer.lr, train.schedule.warmup=5%, train.init=kaiming_normal",
    )


def named(key: str) -> str:
    return key.partition("/")[2]
