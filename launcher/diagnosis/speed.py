"""Where the time went: to waiting for batches, to saving, to one slow rank."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from launcher.diagnosis.verdict import Evidence, Records, Row, Verdict

WAITING = 0.3
SAVING = 0.1
WORTH_S = 5.0
"""Seconds; what costs less is not worth a word."""
SLOWER = 1.3
"""Times the median rank's time."""
MOST = 0.8
"""Of the rows have to show the same rank behind."""


@dataclass(frozen=True)
class Span:
    """Between two rows of one attempt."""

    row: Row
    steps: int

    @property
    def training_s(self) -> float:
        return self.steps * max(numbers(self.row.get("step_s")), default=0.0)

    @property
    def waiting_s(self) -> float:
        """Of the rank that waited most."""
        return self.training_s * max(numbers(self.row.get("data_share")), default=0.0)

    @property
    def saving_s(self) -> float:
        return float(self.row.get("checkpoint_s") or 0.0)

    @property
    def all_s(self) -> float:
        return self.training_s + self.saving_s + float(self.row.get("evaluation_s") or 0.0)


def numbers(value: Any) -> list[float]:
    return [float(each) for each in value if isinstance(each, int | float)] if isinstance(value, list) else []


def spans(records: Records) -> list[Span]:
    """Without the first of each attempt, in which everything is started."""
    return [
        Span(row, row["step"] - before["step"])
        for before, row in zip(records.timings, records.timings[1:], strict=False)
        if row.get("attempt") == before.get("attempt") and row["step"] > before["step"]
    ]


def data_bound(records: Records) -> Iterator[Verdict]:
    found = spans(records)
    waiting, training = sum(span.waiting_s for span in found), sum(span.training_s for span in found)
    if waiting < WORTH_S or waiting < WAITING * training:
        return
    share, worst = waiting / training, max(found, key=lambda span: span.waiting_s / max(span.training_s, 1e-9))
    workers = min(16, max(2, math.ceil(share / max(1e-3, 1 - share))))
    yield Verdict(
        name="data-bound",
        words=f"{share:.0%} of the training time ({waiting:.3g} s of {training:.3g} s) went to waiting for batches",
        evidence=(
            Evidence(metric="data_share", value=round(share, 4), step=found[-1].row["step"]),
            Evidence(metric="data_share", value=max(numbers(worst.row["data_share"])), step=worst.row["step"]),
        ),
        field="train.data.num_workers",
        to=str(workers),
        also="train.data.prefetch=4, more cores (resources.procs_per_node lower), data that is decoded and resized beforehand, "
        "fewer train.data.augment",
    )


def checkpoint_bound(records: Records) -> Iterator[Verdict]:
    found = spans(records)
    saving, total = sum(span.saving_s for span in found), sum(span.all_s for span in found)
    if saving < WORTH_S or saving < SAVING * total:
        return
    worst = max(found, key=lambda span: span.saving_s)
    saves = [entry for entry in records.entries if entry.get("event") == "checkpoint"]
    yield Verdict(
        name="checkpoint-bound",
        words=f"{saving / total:.0%} of the time ({saving:.3g} s of {total:.3g} s) the training stood still for its "
        f"{len(saves)} checkpoints",
        evidence=(
            Evidence(metric="checkpoint_s", value=round(saving, 3), step=found[-1].row["step"]),
            Evidence(metric="checkpoint_s", value=worst.saving_s, step=worst.row["step"]),
        ),
        field="checkpoint.every",
        to="10m",
        also="a run directory on a faster disk (--runs DIR), checkpoint.keep_best only where it is needed",
    )


def straggler(records: Records) -> Iterator[Verdict]:
    """Told by the time that each rank computes: in a step all wait for the slowest, so that their step times are equal."""
    found = [(span.row, times) for span in spans(records) if len(times := numbers(span.row.get("compute_s"))) > 1]
    found = [(row, times) for row, times in found if len(times) == len(found[-1][1])]
    if len(found) < 3:
        return
    ranks = range(len(found[0][1]))
    usual = {rank: median(times[rank] for _, times in found) for rank in ranks}
    slow = max(usual, key=usual.__getitem__)
    others = median(usual[rank] for rank in ranks if rank != slow)
    behind = sum(times[slow] >= SLOWER * median(time for rank, time in enumerate(times) if rank != slow) for _, times in found)
    lost = sum(span.steps for span in spans(records)) * (usual[slow] - others)
    if others <= 0 or usual[slow] < SLOWER * others or behind < MOST * len(found) or lost < WORTH_S:
        return
    node, field, to = whereabouts(records, slow)
    yield Verdict(
        name="straggling rank",
        words=f"rank {slow}{node} computes {usual[slow] / others:.2g} times as long as the others ({usual[slow]:.3g} s a step, "
        f"they {others:.3g} s), in {behind} of {len(found)} rows: all wait for it",
        evidence=(
            Evidence(metric=f"compute_s of rank {slow}", value=usual[slow], step=found[-1][0]["step"]),
            Evidence(metric="compute_s of the others", value=others, step=found[-1][0]["step"]),
        ),
        field=field,
        to=to,
        also="look what else runs there: launch doctor, launch stacks",
    )


def whereabouts(records: Records, rank: int) -> tuple[str, str, str]:
    """The rank's node in words, and the field that takes it out."""
    attempt = next((entry for entry in reversed(records.entries) if entry.get("event") == "attempt"), {})
    world, nodes = attempt.get("world_size") or 0, attempt.get("nodes") or 1
    backend = next((entry.get("backend") for entry in reversed(records.entries) if entry.get("backend")), "local")
    if nodes < 2 or not world:
        return "", "resources.threads", "1"
    node = rank * nodes // world
    host = (attempt.get("hosts") or {}).get(str(node)) if isinstance(attempt.get("hosts"), dict) else None
    if backend == "slurm" and host:
        return f" on node {node} ({host})", "resources.slurm.exclude", str(host)
    return f" on node {node}", "resources.spares", "1"
