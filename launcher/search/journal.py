"""Optuna's journal in the sweep's directory: what was drawn, before it is run, and what came of it.

Each trial is one line of it, whole or not there; other tools of Optuna (its dashboard) read it. Safe on NFS: locked by a file
that is created exclusively.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from launcher.search.study import STATES, End
from launcher.spec.sweep import Sweep

NAME = "optuna.journal"
SPENT = "spent_s"
"""Attribute of the study of a search over a function, which has no other ledger."""
ENDS: dict[optuna.trial.TrialState, End] = {state: end for end, state in STATES.items()}


class Journal:
    def __init__(self, folder: Path, sweep: Sweep, distributions: Mapping[str, Any], name: str) -> None:
        self.distributions = dict(distributions)
        self.study = optuna.create_study(storage=storage_in(folder), study_name=name, direction=sweep.goal, load_if_exists=True)
        there = self.study.trials
        self.drawn: list[dict[str, Any]] = [dict(trial.params) for trial in there]
        """By number of the trial."""
        self.ends = {trial.number: (ENDS[trial.state], trial.value) for trial in there if trial.state in ENDS}
        """What came of trials, as far as the file is known to say it."""

    def keep(self, drawn: Mapping[str, Any]) -> None:
        running = optuna.trial.create_trial(
            state=optuna.trial.TrialState.RUNNING, params=dict(drawn), distributions=self.distributions
        )
        self.study.add_trial(running)
        self.drawn.append(dict(drawn))

    def refresh(self) -> None:
        """What other processes have kept stands in the file alone."""
        there = self.study.get_trials(deepcopy=False)
        self.drawn += [dict(trial.params) for trial in there[len(self.drawn) :]]
        self.ends |= {trial.number: (ENDS[trial.state], trial.value) for trial in there if trial.state in ENDS}

    def tell(self, number: int, end: End, value: float | None) -> None:
        if number not in self.ends:
            self.study.tell(number, value if end == "done" else None, state=STATES[end], skip_if_finished=True)
            self.ends[number] = end, value

    @property
    def spent_s(self) -> float:
        """The time that the search has taken."""
        return float(self.study.user_attrs.get(SPENT, 0.0))

    def spend(self, seconds: float) -> None:
        self.study.set_user_attr(SPENT, seconds)


def storage_in(folder: Path) -> JournalStorage:
    path = str(folder / NAME)
    return JournalStorage(JournalFileBackend(path, lock_obj=JournalFileOpenLock(path)))


def study_of(folder: Path) -> optuna.Study:
    """The one study of a sweep's directory."""
    storage = storage_in(folder)
    [name] = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage)
