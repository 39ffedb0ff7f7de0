"""Text for terminals: width, colour, tables. Plain where there is no terminal or NO_COLOR is set."""

from __future__ import annotations

import json
import os
import shutil
import sys
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

BOLD, DIM, RED, GREEN, YELLOW = "1", "2", "31", "32", "33"


def is_terminal(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def coloured(text: str, colour: str, stream: TextIO | None = None) -> str:
    if os.environ.get("NO_COLOR") or not is_terminal(stream or sys.stdout):
        return text
    return f"\x1b[{colour}m{text}\x1b[0m"


def columns() -> int:
    return shutil.get_terminal_size((100, 24)).columns


def cut(text: str, width: int) -> str:
    """No more columns than `width`; letters of double width count twice, control characters go."""
    if len(text) <= width and text.isascii() and text.isprintable():
        return text
    kept: list[str] = []
    used = 0
    for letter in text:
        wide = 2 if unicodedata.east_asian_width(letter) in "WF" else 0 if unicodedata.combining(letter) else 1
        if not letter.isprintable():
            continue
        if used + wide > width:
            return "".join(kept)[: max(0, width - 1)] + "…" if width > 1 else ""
        kept.append(letter)
        used += wide
    return "".join(kept)


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as their widest cell; the last one is not padded."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def labelled(rows: Sequence[tuple[str, str]], *, indent: int = 0) -> list[str]:
    return [" " * indent + line for line in table(rows)] if rows else []


def say(text: str, stream: TextIO) -> None:
    """Writes now. A reader that has left, or a terminal that is gone, ends nothing: from then on nobody is written to."""
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError):
        turn_away(stream)


def turn_away(stream: TextIO) -> None:
    """What is still buffered, and all that follows, goes nowhere: the interpreter flushes once more on its way out."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def shown_path(path: Path) -> str:
    """Relative to the current folder where that is shorter."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def duration(seconds: float) -> str:
    """`8.2 s`, `3 min 12 s`, `2 h 05 min`, `3 d 4 h`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def moment(time: datetime) -> str:
    """`2026-11-25 00:33:12, 5 min 02 s ago`, in the machine's time zone."""
    return f"{time.astimezone():%Y-%m-%d %H:%M:%S}, {ago(time)}"


def ago(time: datetime) -> str:
    return f"{duration(max(0.0, (datetime.now(UTC) - time).total_seconds()))} ago"


def size(count: float) -> str:
    """Bytes in powers of 1000, as disks are sold."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
