"""Rank logs after the fact, and as they grow."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from itertools import zip_longest
from pathlib import Path
from typing import TextIO

from launcher.cli.ending import report
from launcher.cli.fold import Fold
from launcher.cli.screen import Screen
from launcher.cli.tail import last_state
from launcher.cli.terminal import is_terminal, say
from launcher.errors import UsageError
from launcher.events import LIVE, summarize
from launcher.rundir import RunDir

LOOK_S = 0.1
APART = 200
"""Lines within which the ranks' equal lines find each other."""


def follow_run(run: RunDir, ranks: Sequence[int], out: TextIO) -> None:
    """From the newest attempt's beginning until the run has ended, and how it ended."""
    there = run.attempts()
    with closing(Screen(run, ranks, out, attempt=there[-1] if there else None)) as screen:
        while summarize(run).state in LIVE:
            screen()
            time.sleep(LOOK_S)
        screen()
    say(f"{report(run)}\n", sys.stderr)


def print_logs(run: RunDir, ranks: Sequence[int], attempt: int | None, out: TextIO) -> None:
    """Raises UsageError where there are none."""
    there = run.attempts()
    if not there:
        raise UsageError(f"run {run.id} has no logs: it is {summarize(run).state}")
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
