"""Built-in metrics."""

from __future__ import annotations

from launcher.spec.catalogue.entry import Entry

METRICS = (
    Entry("metric", "accuracy", "launcher.worker.metrics:accuracy", "share of samples whose largest output is the target"),
)  # fmt: skip
