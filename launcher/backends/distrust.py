"""Hosts that failed lately, remembered across the runs of one user: the next submission does without the worst of them."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from launcher.rundir import read_json, write_json

EXPIRES_S = 24 * 3600.0
ENOUGH = 1.0
"""Weight at which a host is left out."""
MOST_SHARE = 0.25
"""Of a partition: what fails on more of it is not the hosts' fault."""


@dataclass(frozen=True, kw_only=True)
class Grievance:
    host: str
    time: float
    """Seconds since the epoch."""
    weight: float
    """1: the host alone can be to blame. 0.5: it takes two."""
    what: str
    run: str


def memory() -> Path:
    """Raises RuntimeError for a user without a home."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "launcher" / "nodes.json"


def remembered(now: float) -> list[Grievance]:
    """Those that have not expired; a file that cannot be read remembers nothing."""
    said, found = None, []
    with suppress(RuntimeError):
        said = read_json(memory())
    for each in said if isinstance(said, list) else []:
        with suppress(TypeError):
            found.append(Grievance(**each))
    return [each for each in found if now - each.time < EXPIRES_S]


def hold_against(host: str, what: str, *, run: str, weight: float) -> None:
    """A memory that cannot be written costs nothing but the memory."""
    now, known = time.time(), remembered(time.time())
    before = sum(each.weight for each in known if (each.host, each.run) == (host, run))
    kept = [each for each in known if (each.host, each.run) != (host, run)]
    # However often a run complains of a host, it counts once.
    kept.append(Grievance(host=host, time=now, weight=min(before + weight, ENOUGH), what=what, run=run))
    with suppress(OSError, RuntimeError):
        write_json(memory(), [asdict(each) for each in kept], durable=False)


def distrusted(grievances: Sequence[Grievance], among: Collection[str], *, share: float = MOST_SHARE) -> tuple[str, ...]:
    """Of these hosts those to be left out, the worst first, and no more than a share of them."""
    weights: dict[str, float] = defaultdict(float)
    for each in grievances:
        weights[each.host] += each.weight
    bad = [host for host in sorted(weights, key=lambda host: (-weights[host], host)) if host in among]
    return tuple(host for host in bad if weights[host] >= ENOUGH)[: int(len(among) * share)]
