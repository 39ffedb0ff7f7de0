"""What an evaluation found that is no number: confusion matrices in plots/, and word of a network that finds one class alone."""

from __future__ import annotations

from typing import Any

from launcher import events
from launcher.rundir import RunDir, write_json
from launcher.worker.build import Training
from launcher.worker.metrics.measures import Table
from launcher.worker.metrics.one_class import OneClass


def write_beside(run: RunDir, training: Training, step: int) -> None:
    """Once for each evaluation, by rank 0."""
    for split, found in training.beside.items():
        if training.world.first:
            for name, table in found.tables.items():
                run.plots.mkdir(exist_ok=True)
                write_json(run.plots / f"{name}-{split}.json", described(table, training, split, step))
            if found.one_class is not None and split == "val":
                record_one_class(run, found.one_class, training.world.attempt, step)
    training.beside.clear()


def described(table: Table, training: Training, split: str, step: int) -> dict[str, Any]:
    names = getattr(training.loaders[split].fetch.dataset, "classes", None)
    named = {"classes": list(map(str, names))} if isinstance(names, list | tuple) and len(names) == len(table) else {}
    return {"step": step, "split": split, "rows": "wanted", "columns": "found", **named, "counts": table}


def record_one_class(run: RunDir, found: OneClass, attempt: int, step: int) -> None:
    shares = {"share": round(found.share, 6), "of_targets": round(found.of_targets, 6)}
    events.record(run, "one_class", attempt=attempt, step=step, **{"class": found.found}, **shares)
