"""Pruning: what rank 0 wrote at each evaluation is reported once, and the pruner says whether the trial goes on."""

from __future__ import annotations

from collections.abc import Iterator

from launcher.rundir import RunDir
from launcher.search.study import Study
from launcher.search.trials import evaluations
from launcher.spec.sweep import Sweep


class Rungs:
    def __init__(self, study: Study, sweep: Sweep) -> None:
        self.study, self.sweep = study, sweep
        self.reported: dict[int, int] = {}
        """Trial -> the newest step that was reported."""
        self.given_up: set[int] = set()

    def look(self, trial: int, run: RunDir) -> str | None:
        """Why the trial is to end now."""
        if self.sweep.prune.method == "none" or trial in self.given_up:
            return None
        for step, value, bad in self.unreported(trial, run):
            if bad:
                self.given_up.add(trial)
                return f"{self.sweep.metric} {value:.6g} at step {step} is not among the best ({self.sweep.prune.method})"
        return None

    def rest(self, trial: int, run: RunDir) -> None:
        """Of a trial that has ended, now or before, or runs elsewhere: others are compared with it, and tpe learns from it."""
        if self.sweep.prune.method != "none":
            list(self.unreported(trial, run))

    def unreported(self, trial: int, run: RunDir) -> Iterator[tuple[int, float, bool]]:
        """Step, value, and whether it is not worth going on with."""
        for step, value in evaluations(run, self.sweep.metric):
            if step > self.reported.get(trial, -1):
                self.reported[trial] = step
                yield step, value, self.study.report(trial, step, value)
