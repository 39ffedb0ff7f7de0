"""stop and cancel: a request in each run's directory, which its supervisor looks at every second."""

from __future__ import annotations

import time
from collections.abc import Sequence

POLL_S = 0.1


def ask_all(names: Sequence[str], folder: str | None, what: str, said: str, *, wait: bool) -> None:
    """Raises UsageError for the first that does not run; those before it have been asked."""
    from launcher.api import ask
    from launcher.cli.options import called
    from launcher.events import summarize
    from launcher.rundir import owner
    from launcher.runs import find_run, runs_folder

    found = [find_run(name, runs_folder(folder)) for name in names]
    for run in found:
        ask(run, what)
        if not wait:
            print(f"{run.id} {said}. See it end with: launch status {called(run.path)}")
    for run in found if wait else ():
        while owner(run) is not None:
            time.sleep(POLL_S)
        summary = summarize(run)
        print(f"{run.id} {summary.state}{f': {summary.reason}' if summary.reason else ''}")
