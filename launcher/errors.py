"""What can go wrong for a user. Each class means one thing to mend and owns its exit code (CONTRACTS: Ends).

LaunchError           1   training failed, restarts used up or not worth it
├── SpecError         2   the job file or an override is wrong: every problem at once
├── UsageError        2   the command line is wrong, or asks for what cannot be done
├── BackendError      3   the environment is wrong: a GPU that is not there, no space, run directory not shared
├── Stopped          75   saved, can be continued
└── Cancelled       130   Ctrl-C (saved) or cancel (not)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

LONGEST_GUESSED = 64
"""Characters; no name is longer, and comparing costs their square."""


class LaunchError(Exception):
    """Anything a user can meet; `str(error)` is what the terminal shows."""

    exit_code = 1


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing wrong in a job: where it stands and what to write instead."""

    source: str
    """File name as the user typed it, or `--set 2`."""
    line: int | None = None
    """From 1."""
    column: int | None = None
    """From 1."""
    path: tuple[str | int, ...] = ()
    """Keys from the top of the job down to the value."""
    message: str
    """What came, what is accepted, what to try."""
    excerpt: str | None = None
    """The offending line, or the part of it that fits on a screen."""
    caret: int | None = None
    """Column within the excerpt, from 1."""

    def __str__(self) -> str:
        place = f"{self.source}:{self.line}:{self.column}" if self.line is not None else self.source
        dotted = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in self.path).lstrip(".")
        head = f"{place}: {dotted}: {self.message}" if dotted else f"{place}: {self.message}"
        if self.excerpt is None or self.caret is None:
            return head
        return f"{head}\n    {self.excerpt}\n    {' ' * (self.caret - 1)}^"


class SpecError(LaunchError):
    """The job is wrong; `problems` holds all of it."""

    exit_code = 2

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class UsageError(LaunchError):
    exit_code = 2


class BackendError(LaunchError):
    exit_code = 3


class Stopped(LaunchError):
    exit_code = 75


class Cancelled(LaunchError):
    exit_code = 130


EXIT_CODES = {"spec": SpecError.exit_code, "environment": BackendError.exit_code}
"""Of a rank that raised, by the kind of its error; 1 for all others."""


def near(word: str, known: Iterable[str]) -> str | None:
    """The name that a mistaken one probably stands for."""
    import difflib

    if len(word) > LONGEST_GUESSED:
        return None
    names = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), names, n=1)
    return names[close[0]] if close else None


def did_you_mean(name: str | None) -> str:
    """Behind a sentence; empty where there is nothing to guess."""
    return f" Did you mean '{name}'?" if name else ""
