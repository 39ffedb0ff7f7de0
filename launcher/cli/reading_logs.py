"""Rank logs after the fact, and as they grow."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from itertools import zip_longest
from pathlib import Path
from typing import TextIO

from launcher.cli.ending import job_of, report
from launcher.cli.fold import Fold
from launcher.cli.leading import Shown
from launcher.cli.screen import Screen
from launcher.cli.sweep_screen import SweepScreen
from launcher.cli.tail import last_state
from launcher.cli.terminal import is_terminal, say
from launcher.errors import LaunchError, UsageError
from launcher.events import LIVE, ledger, summarize
from launcher.rundir import RunDir
from launcher.standing import standing

LOOK_S = 0.1
ASK_S = 1.0
"""Between two questions to a queue."""
APART = 200
"""Lines within which the ranks' equal lines find each other."""


def follow_run(run: RunDir, ranks: Callable[[], Sequence[int]], out: TextIO) -> None:
    """From the newest attempt's beginning, once its job has begun, until the run has ended; and how it ended."""
    wait_in_queue(run, out)
    with closing(screen_of(run, ranks, out)) as screen:
        while not over(run):
            screen()
            time.sleep(LOOK_S)
        screen()
    say(f"{report(run, seen=screen.seen)}\n", sys.stderr)


def screen_of(run: RunDir, ranks: Callable[[], Sequence[int]], out: TextIO) -> Shown:
    job = job_of(run)
    if job is not None and job.sweep is not None:
        return SweepScreen(run, job.sweep, out, whole=True)
    screen = Screen(run, ranks(), out)  # reads the ledger from here: an attempt that begins from now on is heard of
    if there := run.attempts():
        screen.follow(there[-1])
    return screen


def over(run: RunDir) -> bool:
    """The queue is asked only where the run's own ledger does not say that it runs."""
    if summarize(run).state in LIVE:
        return False
    state = standing(run).state
    if state == "queued" or state in LIVE:
        time.sleep(ASK_S)
        return False
    return True


def wait_in_queue(run: RunDir, out: TextIO) -> None:
    """Says why it waits, each time that the reason changes."""
    told = None
    while summarize(run).state not in LIVE and (now := standing(run)).state in ("queued", "starting"):
        if now.reason != told:
            told = now.reason
            say(f"{now.state}: {told}\n", out)
        time.sleep(ASK_S)


def exit_code(run: RunDir) -> int:
    """Of a run that has ended."""
    codes = [entry["exit_code"] for entry in ledger(run) if "exit_code" in entry]
    return codes[-1] if codes and standing(run).state == summarize(run).state else LaunchError.exit_code


def print_logs(run: RunDir, ranks: Sequence[int], attempt: int | None, out: TextIO) -> None:
    """Of a sweep a line for each trial. Raises UsageError where there are none."""
    there, job = run.attempts(), job_of(run)
    if job is not None and job.sweep is not None:
        with closing(SweepScreen(run, job.sweep, out, whole=True)) as screen:
            screen()
        return
    if not there:
        raise UsageError(f"run {run.id} has no logs: it is {standing(run).state}")
    number = there[-1] if attempt is None else attempt
    if number not in there:
        raise UsageError(f"run {run.id} has no attempt {number}: it has {', '.join(map(str, there))}")
    paths = {rank: path for rank in ranks if (path := run.rank_log(number, rank)).exists()}
    if not paths:
        names = ", ".join(path.name for path in sorted(run.attempt(number).glob("*.log"))) or "none"
        raise UsageError(f"no such log in attempt {number}. There: {names}")
    if len(paths) == 1:
        print_one(next(iter(paths.values())), out)
    else:
        print_folded(paths, out)


def print_one(path: Path, out: TextIO) -> None:
    """As it stands; in a terminal the last state of each progress bar."""
    with path.open(errors="replace", newline="\n") as file:
        if is_terminal(out):
            out.writelines(f"{last_state(line)}\n" for line in file)
        else:
            shutil.copyfileobj(file, out)


def print_folded(paths: dict[int, Path], out: TextIO) -> None:
    """The ranks' lines side by side; equal ones once."""
    fold = Fold(len(paths))
    with ExitStack() as stack:
        files = [stack.enter_context(path.open(errors="replace", newline="\n")) for path in paths.values()]
        for number, lines in enumerate(zip_longest(*files)):
            for rank, line in zip(paths, lines, strict=True):
                if line is not None:
                    fold.add(rank, last_state(line), float(number))
            out.writelines(f"{line}\n" for line in fold.due(float(number), hold=APART))
    out.writelines(f"{line}\n" for line in fold.rest())
