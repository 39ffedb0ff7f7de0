"""Where are all ranks? One question to every agent of an attempt; the answers are files in the run directory."""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import accumulate, count

from launcher.plan import Node
from launcher.rundir import RunDir
from launcher.supervisor.cause import Failure, log_tail
from launcher.supervisor.pool import Pool
from launcher.supervisor.stacks import Folded

ANSWER_S = 6.0
"""An agent waits 2 s for its ranks; then it writes on a file system that may be slow."""
NUMBERS = count(1)
NOTHING = Folded(groups=())


class Inquiry:
    """Read beside the loop, since 10,000 files take seconds on a network file system, and the agents want to be pinged."""

    def __init__(self, pool: Pool, attempt: int, nodes: Sequence[int], keep: Callable[[], Folded], *, whole: bool) -> None:
        """`keep` reads the answers; in a thread of its own. `whole`: all threads, of ranks that hang."""
        self.number = next(NUMBERS)
        self.awaited = {node for node in nodes if node in pool.agents}
        self.until = time.monotonic() + ANSWER_S
        self.keep = keep
        self.reader: threading.Thread | None = None
        self.read: Folded = NOTHING
        pool.send({"kind": "stacks", "to": sorted(self.awaited), "attempt": attempt, "number": self.number, "whole": whole})

    def hear(self, agent: int, number: int) -> None:
        if number == self.number:
            self.awaited.discard(agent)

    def folded(self) -> Folded | None:
        """Once all have answered, or are given up (an agent may have been lost meanwhile), and the answers are read."""
        if self.reader is None and (not self.awaited or time.monotonic() >= self.until):
            self.reader = threading.Thread(target=self.take, name="stacks", daemon=True)
            self.reader.start()
        return self.read if self.reader is not None and not self.reader.is_alive() else None

    def take(self) -> None:
        with suppress(OSError):  # a full disk
            self.read = self.keep()


def hung(run: RunDir, told: Failure, folded: Folded, members: Sequence[Node], *, quiet_s: float, root: str) -> Failure:
    """The failure of an attempt whose ranks are where `folded` says; named is the one that keeps the others waiting.

    `root`: the folder that paths are shown relative to.
    """
    message = f"no progress for {quiet_s:g} s: {folded.line(root)}"
    details = {"stacks": str(run.stacks(told.attempt).relative_to(run.path))}
    failure = replace(told, message=message, details=details, where=folded.odd.place.where if folded.odd else None)
    if folded.odd is None or len(folded.odd.ranks) > 1:
        return failure
    rank = folded.odd.ranks[0]
    node = members[bisect_right(list(accumulate(each.local_world_size for each in members)), rank)]
    return replace(failure, rank=rank, node=node.index, host=node.host, log_tail=log_tail(run.rank_log(told.attempt, rank)))
