"""Memory that a step frees is what the next one takes up again.

glibc gives it back to the system instead whenever enough lies free (mallopt(3)), and then every page of the next step's outputs
is new to the process: it faults, and the kernel clears it. That was a quarter of a small network's time on the CPU.
"""

from __future__ import annotations

import ctypes
import os

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_IN_HEAP = 2**25
"""In bytes, and the most that glibc takes. What is larger comes from the system each time."""
KEPT = 2**30
"""Bytes that may lie free at the end of the heap."""
CHOSEN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
"""Variables by which somebody else has said how it is to be."""


def keep_what_is_freed() -> None:
    """For the rest of the process; nothing where somebody else chose, or the C library is not glibc."""
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None and not any(name in os.environ for name in CHOSEN):
        set_option(M_MMAP_THRESHOLD, LARGEST_IN_HEAP)
        set_option(M_TRIM_THRESHOLD, KEPT)
