"""stop and cancel: a request in each run's directory, which its supervisor looks at every second."""

from __future__ import annotations

import time
from collections.abc import Sequence

POLL_S = 0.1


def ask_all(names: Sequence[str], folder: str | None, what: str, said: str, *, wait: bool) -> None:
    """Raises UsageError for the first that does not run; those before it have been asked."""
    from launcher.api import ASK_S, ask
    from launcher.cli.options import called
    from launcher.events import LIVE, summarize
    from launcher.rundir import RunDir, owner
    from launcher.runs import find_run, runs_folder
    from launcher.standing import standing

    found = [find_run(name, runs_folder(folder)) for name in names]
    out: list[RunDir] = []
    for run in found:
        if ask(run, what) in ("stopped", "cancelled"):
            summary = standing(run)
            print(f"{run.id} {summary.state}: {summary.reason}")
            out.append(run)
        elif not wait:
            print(f"{run.id} {said}. See it end with: launch status {called(run.path)}")
    for run in (each for each in found if wait and each not in out):
        while owner(run) is not None or (summary := standing(run)).state in LIVE:
            time.sleep(POLL_S if summarize(run).state in LIVE else ASK_S)
        print(f"{run.id} {summary.state}{f': {summary.reason}' if summary.reason else ''}")
