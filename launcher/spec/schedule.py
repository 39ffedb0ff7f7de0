"""A learning-rate schedule, and whether it suits the run that it is of."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic_core import InitErrorDetails

from launcher.spec.base import wrong
from launcher.spec.catalogue import CATALOGUE
from launcher.spec.monitor import logged_keys, part, target_name
from launcher.spec.target import Target
from launcher.spec.values import Length


class ScheduleTarget(Target):
    warmup: Length | None = None
    """The rate rises linearly from 0 over this length, in front of the schedule."""


def unsuited(train: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
    """What does not suit the training that it stands in, as far as that alone shows it."""
    schedule = train.get("schedule")
    if target_name(schedule) == "plateau":
        yield from unheard(train, part(schedule, "monitor") or "val/loss")
    if not isinstance(schedule, Mapping) or train.get("limit_batches") is not None:
        return
    builtin = ("schedule", target_name(schedule)) in CATALOGUE
    for name, value in schedule.items():
        if name != "warmup" and not builtin:
            continue
        for length in value if isinstance(value, list) else [value]:
            if isinstance(length, str) and re.fullmatch(Length.pattern, length.strip()) and (run := shorter_run(train, length)):
                yield wrong(f"{length} is longer than the run, which has {run}", "schedule", name, given=length)


def unheard(train: Mapping[str, Any], monitor: object) -> Iterator[InitErrorDetails]:
    keys = [key for key in logged_keys(train) if key.startswith(("val/", "train/"))]
    if part(part(train, "data"), "val") is None and isinstance(train.get("data"), Mapping):
        yield wrong("plateau heeds evaluations, and this training has none: write data.val", "schedule")
    elif keys and monitor not in keys:
        yield wrong(f"'{monitor}' is not known at an evaluation; known are {', '.join(keys)}", "schedule", "monitor")


def shorter_run(train: Mapping[str, Any], text: str) -> str | None:
    """The run's length, where it is told in the same unit and is shorter."""
    length = Length(text.strip())
    if length.unit == "percent":
        return "100%" if length.number > 100 else None
    field = "epochs" if length.unit == "epochs" else "max_steps"
    end = train.get(field)
    return f"{field}: {end}" if isinstance(end, int) and length.number > end else None
