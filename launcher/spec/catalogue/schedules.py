"""Built-in learning-rate schedules: torch's, stepped once per optimizer step.

Lengths are in steps, epochs or % of the run; where one is None it is the run's, without the warm-up.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from launcher.spec.base import Said
from launcher.spec.catalogue.entry import REQUIRED, Count, Entry, Positive, Rate, Share
from launcher.spec.values import Length, more_than_nothing

Stretch = Annotated[Length, AfterValidator(more_than_nothing)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]

SCHEDULES = (
    Entry("schedule", "constant", "launcher.worker.schedules:constant", "the optimizer's rate throughout"),
    Entry("schedule", "cosine", "launcher.worker.schedules:cosine",
          "half a cosine over `T_max` (the run), down to `final` times the rate, or to the rate `eta_min` where that is higher",
          {"final": (Rate, 0.0), "eta_min": (Rate, 0.0), "T_max": (Stretch | None, None)}),
    Entry("schedule", "cosine_restarts", "launcher.worker.schedules:cosine_restarts",
          "half a cosine down to the rate `eta_min` over `T_0`, again and again, each `T_mult` times as long as the one before",
          {"T_0": (Stretch, REQUIRED), "T_mult": (Count, 1), "eta_min": (Rate, 0.0)}),
    Entry("schedule", "linear", "launcher.worker.schedules:linear",
          "a straight line from `start_factor` to `end_factor` times the rate over `total_iters` (the run); `final` is "
          "`end_factor` too", {"start_factor": (Rate, 1.0), "end_factor": (Rate, 0.0), "final": (Rate | None, None),
                               "total_iters": (Stretch | None, None)}),
    Entry("schedule", "polynomial", "launcher.worker.schedules:polynomial",
          "the share of `total_iters` (the run) that is left, to the power of `power`, times the rate",
          {"power": (Positive, 1.0), "total_iters": (Stretch | None, None)}),
    Entry("schedule", "step", "launcher.worker.schedules:step", "times `gamma` after every `step_size`",
          {"step_size": (Stretch, REQUIRED), "gamma": (Rate, 0.1)}),
    Entry("schedule", "multi_step", "launcher.worker.schedules:multi_step", "times `gamma` at each of `milestones`", {
        "milestones": (Annotated[list[Stretch], Field(min_length=1)], REQUIRED),
        "gamma": (Rate, 0.1)}),
    Entry("schedule", "exponential", "launcher.worker.schedules:step",
          "times `gamma` after every epoch, or every `step_size`",
          {"gamma": (Positive, REQUIRED), "step_size": (Stretch, Length("1 epoch"))}),
    Entry("schedule", "one_cycle", "launcher.worker.schedules:OneCycle",
          "from the rate over `div_factor` up to the rate, then down to a `final_div_factor`th of where it began; momentum goes "
          "the other way (Smith and Topin 2017)", {
        "pct_start": (Share, 0.3), "anneal_strategy": (Literal["cos", "linear"], "cos"), "cycle_momentum": (bool, True),
        "base_momentum": (BelowOne, 0.85), "max_momentum": (BelowOne, 0.95), "div_factor": (Positive, 25.0),
        "final_div_factor": (Positive, 1e4), "three_phase": (bool, False)}),
    Entry("schedule", "plateau", "launcher.worker.plateau:Plateau",
          "times `factor` where `monitor` has not become better in more than `patience` evaluations one after the other", {
        "monitor": (Annotated[str, Said("a metric's key", "val/loss")], "val/loss"),
        "mode": (Literal["min", "max"] | None, None), "factor": (BelowOne, 0.1), "patience": (Annotated[int, Field(ge=0)], 10),
        "threshold": (Rate, 1e-4), "threshold_mode": (Literal["rel", "abs"], "rel"), "cooldown": (Annotated[int, Field(ge=0)], 0),
        "min_lr": (Rate, 0.0), "eps": (Rate, 1e-8)}),
)  # fmt: skip
