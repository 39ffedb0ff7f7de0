"""Optuna, asked once per trial.

Its sampler is made anew for each question, from (seed, number of the trial): what it answers is a function of the spec, the
seed and what it has been told, and a process that takes over asks on as the one before would have.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Collection, Mapping
from typing import Any, Literal

import optuna

from launcher.errors import BackendError
from launcher.spec.sweep import Prune, Sweep

End = Literal["done", "pruned", "failed"]
STATES: dict[End, optuna.trial.TrialState] = {
    "done": optuna.trial.TrialState.COMPLETE,
    "pruned": optuna.trial.TrialState.PRUNED,
    "failed": optuna.trial.TrialState.FAIL,
}
STARTUP_TRIALS = 10
"""Drawn at random before tpe and gp learn: Optuna's own."""
REDRAWS = 1_000
"""Of a random trial that was drawn before; then all that is likely has been tried."""

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def seed_of(seed: int, number: int, again: int = 0) -> int:
    digest = hashlib.sha256(f"sweep/{seed}/{number}/{again}".encode()).digest()
    return int.from_bytes(digest[:4], "big") & 0x7FFFFFFF


class Study:
    """In memory: trials are numbered from 0, asked in order, told in order."""

    def __init__(self, sweep: Sweep, seed: int, distributions: Mapping[str, Any]) -> None:
        self.sweep, self.seed, self.distributions = sweep, seed, dict(distributions)
        # By its name hyperband shares the trials out among its brackets: one that is drawn would be another after a kill.
        self.study = optuna.create_study(study_name=f"sweep-{seed}", direction=sweep.goal, pruner=pruner(sweep.prune))
        self.trials: list[optuna.Trial] = []

    def ask(self, number: int, known: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The parameters of the trial; with `known`, they are these.

        Raises BackendError where cma, which learns by being asked, gives other ones: it is another version of Optuna.
        """
        assert number == len(self.trials)
        asks = known is None or self.sweep.method == "cma"
        if not asks:
            self.study.enqueue_trial(dict(known or {}))
        self.study.sampler = sampler(self.sweep.method if asks else "random", seed_of(self.seed, number))
        trial = self.study.ask(self.distributions)
        self.trials.append(trial)
        if known is not None and dict(trial.params) != dict(known):
            raise BackendError(
                f"Optuna {optuna.__version__} does not give trial {number} the parameters that it had before ({dict(known)}): "
                "go on with the version that the sweep began with (provenance.json), or begin a new sweep"
            )
        return dict(trial.params)

    def independent(self, number: int, again: int) -> dict[str, Any]:
        """Drawn at random, without asking for a trial."""
        drawn = optuna.samplers.RandomSampler(seed_of(self.seed, number, again))
        nobody = optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING)
        return {path: drawn.sample_independent(self.study, nobody, path, space) for path, space in self.distributions.items()}

    def unseen(self, number: int, seen: Collection[str]) -> dict[str, Any] | None:
        """The first that is none of `seen` (by repr); None where all that is likely has been tried."""
        drawn = (self.independent(number, again) for again in range(REDRAWS))
        return next((each for each in drawn if repr(each) not in seen), None)

    def report(self, number: int, step: int, value: float) -> bool:
        """Whether the trial is not worth going on with."""
        self.trials[number].report(value, step)
        return self.trials[number].should_prune()

    def tell(self, number: int, end: End, value: float | None) -> None:
        self.study.tell(self.trials[number], value if end == "done" else None, state=STATES[end])


def sampler(method: str, seed: int) -> optuna.samplers.BaseSampler:
    match method:
        case "tpe":
            return optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS)
        case "cma":
            return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
        case "gp":
            return optuna.samplers.GPSampler(seed=seed, n_startup_trials=STARTUP_TRIALS, warn_independent_sampling=False)
    return optuna.samplers.RandomSampler(seed)


def pruner(prune: Prune) -> optuna.pruners.BasePruner:
    match prune.method:
        case "median":
            return optuna.pruners.MedianPruner(n_warmup_steps=prune.warmup_steps)
        case "asha":
            least = max(1, prune.warmup_steps) if prune.warmup_steps else "auto"
            return optuna.pruners.SuccessiveHalvingPruner(min_resource=least, reduction_factor=prune.reduction_factor)
        case "hyperband":
            return optuna.pruners.HyperbandPruner(
                min_resource=max(1, prune.warmup_steps), reduction_factor=prune.reduction_factor
            )
    return optuna.pruners.NopPruner()
