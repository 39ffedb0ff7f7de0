"""Which cores each of this node's ranks is kept to. Loader processes and threads inherit it."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress

from launcher.topology import Share, read_topology, shares


def own_shares(usable: Collection[int], ranks: int, environ: Mapping[str, str]) -> tuple[Share, ...] | None:
    """None where binding would change nothing, or there are fewer cores than ranks."""
    if ranks == 1 and not environ.get("CUDA_VISIBLE_DEVICES"):
        return None
    threads = environ.get("OMP_NUM_THREADS", "")
    return shares(read_topology(usable, environ), ranks, threads=int(threads) if threads.isdecimal() else 1)


def keep_to(cpus: Sequence[int] | None) -> None:
    """This process and all that it starts. A cgroup that has lost cores meanwhile is no reason to fail."""
    if cpus:
        with suppress(OSError):
            os.sched_setaffinity(0, cpus)
