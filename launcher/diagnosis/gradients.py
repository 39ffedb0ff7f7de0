"""What the gradients say, layer by layer (`log.gradients`), or as a whole where they are clipped."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import median

from launcher.diagnosis.curves import Curve, Point, curve, level, peak_rate, rounded
from launcher.diagnosis.rate import became_nan, gone_up
from launcher.diagnosis.verdict import Records, Row, Verdict

VANISHED = 1e-4
"""Of the largest group's gradient: less does not move the weights of a layer."""
JUMP = 30.0
"""Times the usual norm."""
HUGE = 100.0
"""A gradient's norm that no training has in its usual course."""
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
        also="batch_norm in train.model, fewer layers",
    )


def exploding(records: Records) -> Iterator[Verdict]:
    norms = whole(records.rows)
    if not norms:
        return
    worst, usual = max(norms, key=lambda point: point.value), level(norms)
    clipped = any("grad_norm" in row for row in records.rows)
    gone = became_nan(records) is not None or gone_up(curve(records.rows, "train/loss")) is not None
    jumped = worst.value >= HUGE and (worst.value >= JUMP * usual or worst.value >= JUMP * norms[0].value or usual >= HUGE)
    if not jumped or (clipped and not gone):
        return
    yield Verdict(
        name="exploding gradients",
        words=f"the gradient's norm reached {worst.value:.3g} at step {worst.step}; it was {norms[0].value:.3g} at step "
        f"{norms[0].step}",
        evidence=(worst.evidence, norms[0].evidence),
        **tamer(records, clipped=clipped),
        also="train.schedule.warmup=5%, a smaller train.optimizer.lr",
    )


def tamer(records: Records, *, clipped: bool) -> dict[str, str]:
    rate = peak_rate(records.rows)
    if clipped and rate is not None:
        return {"field": "train.optimizer.lr", "to": rounded(rate.value / 10)}
    return {"field": "train.clip_grad_norm", "to": "1.0"}


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
        also="a smaller train.optimizer.lr, train.schedule.warmup=5%",
    )


def named(key: str) -> str:
    return key.partition("/")[2]
