"""Which parameters the k-th trial has.

With P trials in parallel it is asked for from the values of trials <= k - P alone, told in order: so it is a function of the
spec, the seed and those values, whatever the timing, and the same after any kill.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from launcher.search.gaussian import GaussianProcess
from launcher.search.journal import Journal
from launcher.search.space import combinations, distributions, grid
from launcher.search.study import End, Study
from launcher.spec.sweep import Sweep

LEARNS = frozenset({"tpe", "gp", "cma"})


class Sequence:
    def __init__(self, sweep: Sweep, seed: int, folder: Path, *, parallel: int, name: str, whole: frozenset[str]) -> None:
        self.sweep, self.parallel = sweep, parallel
        spaces = distributions(sweep, whole)
        self.journal = Journal(folder, sweep, spaces, name)
        self.study = Study(sweep, seed, spaces)
        self.elsewhere = GaussianProcess(sweep, seed, whole) if sweep.method == "gp" and sweep.parameters else None
        self.total = total(sweep, whole)
        """Trials at most; None where time alone ends it."""
        self.combinations = list(islice(grid(sweep, whole), self.total)) if sweep.method == "grid" else []
        self.asked = self.told = 0
        self.ends: dict[int, tuple[End, float | None]] = {}
        self.seen: set[str] = set()

    def ready(self) -> bool:
        """Whether there is another trial whose parameters can be known already."""
        if self.total is not None and self.asked >= self.total:
            return False
        return self.sweep.method not in LEARNS or all(number in self.ends for number in range(self.asked - self.parallel + 1))

    def next(self) -> dict[str, Any] | None:
        """What was drawn for the next trial; None where all that there is has been tried."""
        number = self.asked
        for each in range(self.told, number - self.parallel + 1):
            if each not in self.ends:
                break
            self.tell(each)
        known = self.journal.drawn[number] if number < len(self.journal.drawn) else self.unasked(number)
        if known is None and self.sweep.method not in LEARNS:
            return None
        drawn = self.ask(number, known)
        if number >= len(self.journal.drawn):
            self.journal.keep(drawn)
        self.seen.add(repr(drawn))
        self.asked += 1
        return drawn

    def ask(self, number: int, known: Mapping[str, Any] | None) -> dict[str, Any]:
        if self.elsewhere is not None:
            known = self.elsewhere.ask(number, known)
        return self.study.ask(number, known)

    def tell(self, number: int) -> None:
        end, value = self.ends[number]
        self.study.tell(number, end, value)
        if self.elsewhere is not None:
            self.elsewhere.tell(number, end, value)
        self.told = number + 1

    def unasked(self, number: int) -> dict[str, Any] | None:
        """Of methods that learn nothing: no configuration twice."""
        if self.sweep.method == "grid":
            return self.combinations[number]
        return self.study.unseen(number, self.seen) if self.sweep.method == "random" else None

    def ended(self, number: int, end: End, value: float | None) -> None:
        """Takes the news in any order."""
        self.ends[number] = end, value
        self.journal.tell(number, end, value)

    @property
    def known(self) -> bool:
        """Whether the next trial was drawn before, by whichever process."""
        return self.asked < len(self.journal.drawn)

    def refresh(self) -> None:
        """Takes in what other processes have drawn."""
        self.journal.refresh()

    def close(self) -> None:
        if self.elsewhere is not None:
            self.elsewhere.close()


def total(sweep: Sweep, whole: frozenset[str]) -> int | None:
    """How many trials at most."""
    if not sweep.parameters:
        return 1  # cross-validation of the job as it is
    there_are = combinations(sweep, whole) if sweep.method in ("grid", "random") else None
    known = [count for count in (sweep.trials, there_are) if count is not None]
    return min(known, default=None)
