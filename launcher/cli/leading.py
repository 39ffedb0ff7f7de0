"""What drives a run to its end, and what shows it: a training and a sweep differ here alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TextIO

from launcher.rundir import RunDir
from launcher.spec import Job

if TYPE_CHECKING:
    from launcher.supervisor import Outcome


class Shown(Protocol):
    """Called about ten times a second; each call shows what is new."""

    @property
    def seen(self) -> Sequence[int]:
        """Ranks whose output stands on the terminal."""

    def __call__(self) -> None: ...

    def note(self, text: str) -> None: ...

    def close(self) -> None: ...


def screen_of(run: RunDir, job: Job, ranks: Sequence[int], out: TextIO) -> Shown:
    if job.sweep is not None:
        from launcher.cli.sweep_screen import SweepScreen

        return SweepScreen(run, job.sweep, out)
    from launcher.cli.screen import Screen

    return Screen(run, ranks, out)


def lead(run: RunDir, job: Job, screen: Callable[[], None]) -> Outcome:
    """Of a run that the caller holds, or shares with other tasks of an array. Raises UsageError, BackendError."""
    if job.sweep is not None:
        from launcher.search.conduct import conduct

        return conduct(run, screen=screen, holding=True)
    from launcher.supervisor import supervise

    return supervise(run, screen=screen, holding=True)
