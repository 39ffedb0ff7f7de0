"""Reads metrics.jsonl while it grows, and goes on where an attempt has put another file in its place."""

from __future__ import annotations

import json
import os
from io import BufferedReader
from pathlib import Path
from typing import Any

Row = dict[str, Any]


class Follower:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.file: BufferedReader | None = None
        self.inode = 0
        self.torn = b""
        """The beginning of a line that is still being written."""
        self.last_step = -1

    def rows(self) -> list[Row]:
        """Those that came since the last call, each step once."""
        try:
            inode = self.path.stat().st_ino
        except FileNotFoundError:
            return []
        if self.file is None or inode != self.inode:
            self._open()
        assert self.file is not None
        lines = (self.torn + self.file.read()).split(b"\n")
        self.torn = lines.pop()
        rows = [row for row in map(json.loads, filter(None, lines)) if row["step"] > self.last_step]
        self.last_step = rows[-1]["step"] if rows else self.last_step
        return rows

    def _open(self) -> None:
        if self.file is not None:
            self.file.close()
        self.file, self.torn = self.path.open("rb"), b""
        self.inode = os.fstat(self.file.fileno()).st_ino


def rows_until(path: Path, step: int) -> list[Row]:
    """The whole rows up to a step."""
    follower = Follower(path)
    rows = [row for row in follower.rows() if row["step"] <= step]
    if follower.file is not None:
        follower.file.close()
    return rows


def values(row: Row) -> dict[str, float]:
    """What a row says, without its step and without what was not a number."""
    return {key: value for key, value in row.items() if key != "step" and value is not None}
