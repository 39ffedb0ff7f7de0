"""Memory that a step frees is what the next one takes up again.

glibc gives it back to the system instead whenever enough lies free (mallopt(3)), and then every page of the next step's outputs
is new to the process: it faults, and the kernel clears it. That was a fifth of a small network's time on the CPU.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_IN_HEAP = 2**25
"""In bytes, and the most that glibc takes. What is larger comes from the system each time."""
KEPT = 2**30
"""Bytes that may lie free at the end of the heap."""


def keep_what_is_freed() -> None:
    """For the rest of the process; nothing where the C library is not glibc, or its variables say how it is to be."""
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None and not said_otherwise(os.environ) and set_option(M_MMAP_THRESHOLD, LARGEST_IN_HEAP):
        set_option(M_TRIM_THRESHOLD, KEPT)


def said_otherwise(environ: Mapping[str, str]) -> bool:
    return "glibc.malloc" in environ.get("GLIBC_TUNABLES", "") or any(name.startswith("MALLOC_") for name in environ)
