"""Built-in learning-rate schedules."""

from __future__ import annotations

from launcher.spec.catalogue.entry import REQUIRED, Entry, Rate
from launcher.spec.values import Length

SCHEDULES = (
    Entry("schedule", "constant", "launcher.worker.schedules:constant", "the optimizer's rate throughout"),
    Entry("schedule", "cosine", "launcher.worker.schedules:cosine", "half a cosine down to `final` times the rate",
          {"final": (Rate, 0.0)}),
    Entry("schedule", "linear", "launcher.worker.schedules:linear", "a straight line down to `final` times the rate",
          {"final": (Rate, 0.0)}),
    Entry("schedule", "step", "launcher.worker.schedules:step", "times `gamma` after every `step_size`",
          {"step_size": (Length, REQUIRED), "gamma": (Rate, 0.1)}),
)  # fmt: skip
