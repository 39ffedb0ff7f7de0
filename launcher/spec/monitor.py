"""Which keys a job logs, read from what was given, before it is known to be right."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from launcher.spec.catalogue.metrics import MATRICES


def metric_key(target: str) -> str:
    """The name under which a metric is logged: `accuracy`, and `thing` for `my_pkg.mod:thing`."""
    return re.split(r"[.:]", target)[-1]


def logged_keys(train: object, *, folds: bool = False) -> list[str]:
    """What can be monitored; empty where that cannot be told. `folds`: a part of the training set is held out to evaluate on."""
    data, metrics = part(train, "data"), part(train, "metrics") or []
    if train is None or data is None or not isinstance(metrics, list):
        return []
    names = ["loss", *(metric_key(name) for name in map(target_name, metrics) if name and name not in MATRICES)]
    splits = ["val"] if folds or part(data, "val") is not None else []
    return [f"{split}/{name}" for split in splits for name in names] + ["train/loss", "lr", "grad_norm"]


def monitored(section: object, field: str) -> str | None:
    best = part(section, field)
    key = best if isinstance(best, str) else part(best, "monitor")
    return key if isinstance(key, str) else None


def target_name(target: object) -> str | None:
    name = target if isinstance(target, str) else part(target, "target")
    return name if isinstance(name, str) else None


def part(whole: Any, name: str) -> Any:
    return whole.get(name) if isinstance(whole, Mapping) else getattr(whole, name, None)
