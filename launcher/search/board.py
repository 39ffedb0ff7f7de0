"""All trials of a sweep as one process knows them: what was drawn, what is still to be run, what came of it.

Others may draw and run trials of the same sweep. What they did stands in its ledger, and what they drew in Optuna's journal:
`catch_up` takes both in. Each of them asks its own sampler for every trial, so that all of them draw the same.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from launcher.events import LedgerTail, fold, ledger, record
from launcher.rundir import RunDir
from launcher.search.company import Held
from launcher.search.rungs import Rungs
from launcher.search.sequence import Sequence
from launcher.search.space import values, whole_ranges
from launcher.search.tally import LET_GO, RAN, TAKEN, TRIAL, TRYING, tally
from launcher.search.trials import Trial, best, concluded, pruned, write_best, write_results
from launcher.spec import Job


class Board:
    def __init__(self, run: RunDir, job: Job, parallel: int, *, shared: bool) -> None:
        """`parallel`: trials at a time, if the sweep begins now. `shared`: other processes draw and run trials as well."""
        assert job.sweep is not None
        self.run, self.job, self.sweep, self.shared = run, job, job.sweep, shared
        entries = list(ledger(run))
        self.sequence = Sequence(
            job.sweep, job.seed, run.path, parallel=begun_with(entries, parallel), name=run.id, whole=whole_ranges(job)
        )
        self.rungs = Rungs(self.sequence.study, self.sweep)
        self.trials: dict[int, Trial] = {}
        """Those that were drawn again here, or for the first time."""
        self.waiting: list[tuple[Trial, int]] = []
        """Runs of these trials that have not ended and are not under way here."""
        self.held: dict[tuple[int, int], Held] = {}
        """Runs under way, here or elsewhere, by trial and index."""
        self.ran: dict[tuple[int, int], tuple[str, str | None]] = {}
        """State and reason of runs that ended elsewhere."""
        self.tried: set[int] = set()
        """Trials that were begun, by whichever process: they are ended, whatever keeps others from being begun."""
        self.told: dict[int, Mapping[str, Any]] = {}
        """What came of trials, by whichever process."""
        self.concluded: set[int] = set()
        """Trials whose end was told here."""
        self.news = LedgerTail(run)
        self.began = time.monotonic() - tally(entries, job.sweep).spent_s
        self.catch_up()

    # What others do

    def catch_up(self) -> None:
        """Takes in what was written since by any process, this one included; the ledger stays as it is."""
        for entry in self.news:
            self.hear(entry)
        if self.shared:
            self.sequence.refresh()
            self.replay()

    def hear(self, entry: Mapping[str, Any]) -> None:
        key = (entry.get("trial", -1), entry.get("index", 0))
        match entry["event"]:
            case "trying":
                self.tried.add(entry["trial"])
            case "taken":
                self.held[key] = Held(entry.get("job"), time.monotonic())
            case "let_go":
                self.held.pop(key, None)
            case "ran":
                self.ran[key] = entry["state"], entry.get("reason")
                self.count_ran(key)
            case "trial":
                self.told[entry["trial"]] = entry
                if (trial := self.trials.get(entry["trial"])) is not None and trial.number not in self.concluded:
                    self.adopt(trial, entry)

    def replay(self) -> None:
        """Draws what others have drawn: each process asks its own sampler for all trials, in their order."""
        while self.sequence.asked in self.tried and self.sequence.known and self.sequence.ready():
            self.draw()

    def count_ran(self, key: tuple[int, int]) -> None:
        self.held.pop(key, None)
        if (trial := self.trials.get(key[0])) is not None:
            self.left_with(trial, key[1], *self.ran[key])

    def adopt(self, trial: Trial, told: Mapping[str, Any]) -> None:
        """A trial whose end another process has told is taken as it was."""
        trial.state, trial.value, trial.spread = told["state"], told.get("value"), told.get("spread")
        trial.reason, trial.left = told.get("reason"), []
        self.waiting = [each for each in self.waiting if each[0] is not trial]
        self.rungs.rest(trial.number, trial.runs[0])
        self.sequence.ended(trial.number, trial.end, trial.value)

    def look(self) -> None:
        """At trials that run elsewhere: pruners compare with them."""
        if self.shared and self.sweep.prune.method != "none":
            self.catch_up()
            for trial, _ in self.waiting:
                self.rungs.rest(trial.number, trial.runs[0])

    # What is still to be run

    @property
    def exhausted(self) -> bool:
        """Whether no further trial is begun, whatever comes of those that run."""
        if self.sequence.total is not None and self.sequence.asked >= self.sequence.total:
            return True
        late = self.sweep.max_time is not None and time.monotonic() - self.began > self.sweep.max_time.seconds
        return self.sequence.asked not in self.tried and (late or self.too_many_failed)

    @property
    def too_many_failed(self) -> bool:
        return sum(trial.state == "failed" for trial in self.known.values()) > self.sweep.max_failures

    @property
    def known(self) -> dict[int, Trial]:
        """Trials that ended before are known before they are drawn again."""
        return {**{number: self.as_told(told) for number, told in self.told.items() if number not in self.trials}, **self.trials}

    def as_told(self, told: Mapping[str, Any]) -> Trial:
        runs = self.run.trial_runs(told["trial"], self.sweep.folds)
        return Trial(
            told["trial"], {}, told.get("parameters") or {}, runs, told["state"], told.get("value"), told.get("spread"),
            told.get("reason"),
        )  # fmt: skip

    def draw(self) -> bool:
        """The next trial, if there is one; whether it is new or another process has begun it."""
        number = self.sequence.asked
        drawn = self.sequence.next()
        if drawn is None:
            self.sequence.total = number
            return False
        runs = self.run.trial_runs(number, self.sweep.folds)
        trial = Trial(number, drawn, values(self.sweep, drawn), runs, left=list(range(len(runs))))
        self.trials[number] = trial
        if (told := self.told.get(number)) is not None:
            self.adopt(trial, told)
            return True
        if not self.shared or number not in self.tried:
            record(self.run, TRYING, trial=number, parameters=trial.parameters)
        self.waiting += [(trial, index) for index in trial.left]
        for key in [key for key in self.ran if key[0] == number]:
            self.count_ran(key)
        return True

    def take(self, trial: Trial, index: int, job: str | None) -> None:
        """`job`: the queue job that this process runs in."""
        again = (trial.number, index) in self.held or trial.runs[index].events.exists()
        self.held[trial.number, index] = Held(job, time.monotonic())
        if self.shared:
            if again:  # for who counts what runs
                record(self.run, TRYING, trial=trial.number, parameters=trial.parameters)
            record(self.run, TAKEN, trial=trial.number, index=index, job=job)

    def give_back(self, trial: Trial, index: int) -> None:
        self.held.pop((trial.number, index), None)
        self.waiting.insert(0, (trial, index))
        if self.shared:
            record(self.run, LET_GO, trial=trial.number, index=index)

    # What came of it

    def run_ended(self, trial: Trial, index: int, state: str, reason: str | None) -> None:
        """One of a trial's runs has; the trial has when all have."""
        self.held.pop((trial.number, index), None)
        if index not in trial.left:
            return
        self.left_with(trial, index, state, reason)
        if not trial.left:
            self.trial_ended(trial)
        elif self.shared:
            record(self.run, RAN, trial=trial.number, index=index, state=state, reason=reason)

    def left_with(self, trial: Trial, index: int, state: str, reason: str | None) -> None:
        """What of a trial is still to be run without this run: when one fails, those that are not under way are left out."""
        trial.left = [each for each in trial.left if each != index]
        if state != "done":
            trial.state = "failed" if state == "failed" else "pruned" if state == "pruned" else "stopped"
            trial.reason = trial.reason or reason
            trial.left = [each for each in trial.left if (trial.number, each) in self.held]
        self.waiting = [each for each in self.waiting if each[0] is not trial or each[1] in trial.left]

    def trial_ended(self, trial: Trial) -> None:
        self.concluded.add(trial.number)
        trial.state = "done" if trial.state == "running" else trial.state
        concluded(trial, self.sweep)
        self.sequence.ended(trial.number, trial.end, trial.value)
        record(self.run, TRIAL, trial=trial.number, state=trial.state, value=trial.value, spread=trial.spread,
               parameters=trial.parameters, reason=trial.reason)  # fmt: skip
        known = self.known
        write_results(self.run, self.sweep, known)
        if trial is best(known, self.sweep):
            write_best(self.run, self.job, trial)

    def write(self) -> None:
        """results.csv and best.yaml again: a process may have been killed before it wrote them."""
        known = self.known
        write_results(self.run, self.sweep, known)
        if (winner := best(known, self.sweep)) is not None and winner.runs[0].job.exists():
            write_best(self.run, self.job, winner)

    def close(self) -> None:
        self.sequence.close()


def ended_already(run: RunDir) -> tuple[str, str | None] | None:
    """State and reason of a run whose end was not told before the process ended that led it."""
    if not run.events.exists():
        return None
    summary = fold(ledger(run))
    if summary.state != "done" and (why := pruned(run)) is not None:
        return "pruned", why
    return (summary.state, summary.reason) if summary.state in ("done", "failed") else None


def begun_with(entries: Iterable[Mapping[str, Any]], parallel: int) -> int:
    """Trials at a time when the sweep began. The parameters are a function of it: on another machine it goes on so."""
    return next((entry["parallel"] for entry in entries if entry["event"] == "searching"), parallel)
