"""The run's history: a row of metrics.jsonl for each logged step, and timings.jsonl beside it.

A row is written once, by one write, and fsynced before the checkpoint that covers it. A new attempt cuts the rows that its
checkpoint does not cover and writes them again: the history of a training that died is the undisturbed one's.
"""

from __future__ import annotations

import errno
import json
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launcher.rundir import RunDir, write_atomic
from launcher.worker.world import World


class History:
    """Every rank has one; only rank 0's writes."""

    def __init__(self, run: RunDir, world: World) -> None:
        self.run, self.world = run, world
        self.rows = 0
        """In metrics.jsonl."""
        self.last_step = -1
        self.metrics: int | None = None
        self.timings: int | None = None

    def cut(self, rows: int) -> None:
        """Keeps the first `rows` rows; before the first row(). Written aside: a frozen process of an earlier attempt that wakes
        up writes into the file that is gone."""
        if not self.world.first:
            return
        kept = whole_lines(self.run.metrics)[:rows]
        if len(kept) < rows:
            print(
                f"metrics.jsonl has {len(kept)} rows, where the checkpoint counts {rows}: those are lost",
                file=sys.stderr,
                flush=True,
            )
        write_atomic(self.run.metrics, b"".join(kept))
        self.close()
        self.rows, self.last_step = len(kept), json.loads(kept[-1])["step"] if kept else -1
        self.metrics = append_to(self.run.metrics)

    def row(self, step: int, values: Mapping[str, Any]) -> None:
        """Steps rise strictly."""
        if not self.world.first:
            return
        assert step > self.last_step, f"row of step {step} after that of step {self.last_step}"
        if self.metrics is None:
            self.metrics = append_to(self.run.metrics)
        append(self.metrics, {"step": step} | finite_or_null(values))
        self.rows, self.last_step = self.rows + 1, step

    def timing(self, step: int, values: Mapping[str, Any]) -> None:
        """What depends on the clock."""
        if not self.world.first:
            return
        if self.timings is None:
            self.timings = append_to(self.run.timings)
        append(self.timings, {"step": step, "attempt": self.world.attempt} | finite_or_null(values))

    def fsync(self) -> None:
        for descriptor in (self.metrics, self.timings):
            if descriptor is not None:
                os.fsync(descriptor)

    def close(self) -> None:
        for descriptor in (self.metrics, self.timings):
            if descriptor is not None:
                os.close(descriptor)
        self.metrics = self.timings = None


def finite_or_null(value: Any) -> Any:
    """The value as JSON has it: neither NaN nor infinity is a number there, so they become null."""
    match value:
        case Mapping():
            return {key: finite_or_null(item) for key, item in value.items()}
        case list() | tuple():
            return [finite_or_null(item) for item in value]
        case float() if not math.isfinite(value):
            return None
    return value


def whole_lines(path: Path) -> list[bytes]:
    """Without the torn last one that a kill may leave."""
    if not path.exists():
        return []
    return [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


def append_to(path: Path) -> int:
    """A descriptor at the file's end, on a line of its own."""
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        os.write(descriptor, b"\n")
    return descriptor


def append(descriptor: int, row: Mapping[str, Any]) -> None:
    """Raises OSError where the disk takes no more than a part of it, which the next row would go on behind."""
    line = json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    if os.write(descriptor, line) < len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
