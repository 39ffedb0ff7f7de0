"""metrics.csv: the rows of metrics.jsonl with a column for every key."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TextIO

from launcher.rundir import write_atomic
from launcher.worker.views.follow import Row, rows_until

FIRST = ("step", "epoch")


class Table:
    def __init__(self, path: Path, metrics: Path) -> None:
        self.path, self.metrics = path, metrics
        self.columns: list[str] = []
        self.file: TextIO | None = None

    def send(self, rows: list[Row]) -> None:
        if not rows:
            return
        if self.file is None or any(key not in self.columns for row in rows for key in row):
            self._write_again(rows_until(self.metrics, rows[-1]["step"]))
        else:
            self.file.write(lines(rows, self.columns))
            self.file.flush()

    def finish(self) -> None:
        if self.file is not None:
            self.file.close()

    def _write_again(self, rows: list[Row]) -> None:
        self.finish()
        self.columns = columns(rows)
        write_atomic(self.path, ",".join(self.columns) + "\n" + lines(rows, self.columns))
        self.file = self.path.open("a")


def columns(rows: list[Row]) -> list[str]:
    """Step and epoch, then the others as they first appear."""
    seen = dict.fromkeys(key for row in rows for key in row)
    return [*(key for key in FIRST if key in seen), *(key for key in seen if key not in FIRST)]


def lines(rows: list[Row], columns: list[str]) -> str:
    text = io.StringIO()
    csv.DictWriter(text, columns, lineterminator="\n").writerows(rows)
    return text.getvalue()
