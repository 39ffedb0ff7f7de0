"""Python's logging in a rank: what is logged shows in the rank's log, and the lines of the training are records too."""

from __future__ import annotations

import logging

LINES = logging.getLogger("launcher")
"""Rank 0's lines about the training, at level INFO: a handler of the user's own gets them as well."""


class Print(logging.Handler):
    """To standard output as it is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), flush=True)


def show() -> None:
    """INFO and above go to standard error where the user has set up nothing else: then logging.basicConfig works as ever."""
    resort = logging.StreamHandler()
    resort.setLevel(logging.INFO)
    resort.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logging.lastResort = resort
    logging.getLogger().setLevel(logging.INFO)


if not LINES.handlers:
    LINES.addHandler(Print())
    LINES.setLevel(logging.INFO)
    LINES.propagate = False  # a user's basicConfig would print each line twice
