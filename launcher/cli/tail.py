"""A file that grows, as lines; each look costs a bounded amount, however much was written."""

from __future__ import annotations

from pathlib import Path

READ_BYTES = 1 << 18
BEHIND_BYTES = 1 << 22
"""Further behind than this, the middle is skipped, and said so."""
LONGEST_LINE = 1 << 16


class Tail:
    """Whole lines since the last look. Of a line that was rewritten with carriage returns the last state counts."""

    def __init__(self, path: Path, *, from_end: bool = False) -> None:
        self.path = path
        self.offset = self.size() if from_end else 0
        self.pending = b""

    def size(self) -> int:
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def lines(self) -> list[str]:
        behind = self.size() - self.offset
        if behind <= 0:
            return []
        if behind > BEHIND_BYTES:
            return self.skipped(behind)
        with self.path.open("rb") as file:
            file.seek(self.offset)
            data = file.read(READ_BYTES)
        self.offset += len(data)
        *whole, self.pending = (self.pending + data).split(b"\n")
        if len(self.pending) > LONGEST_LINE:
            whole, self.pending = [*whole, self.pending], b""
        return [decoded(line) for line in whole]

    def skipped(self, behind: int) -> list[str]:
        left = behind - READ_BYTES
        self.offset, self.pending = self.offset + left, b""
        megabytes = left / 1e6
        return [f"... {megabytes:.1f} MB are not shown here: see {self.path}", *self.lines()[1:]]

    def rest(self) -> list[str]:
        """All that is left, an unfinished line included."""
        found: list[str] = []
        while more := self.lines():
            found += more
        if self.pending:
            found.append(decoded(self.pending))
            self.pending = b""
        return found

    @property
    def live(self) -> str | None:
        """What a progress bar shows now: the newest state of an unfinished line that is rewritten."""
        return decoded(self.pending) if b"\r" in self.pending else None


def decoded(line: bytes) -> str:
    return last_state(line.decode(errors="replace"))


def last_state(line: str) -> str:
    """Of a line that was rewritten with carriage returns; its end is not part of it."""
    states = [state for state in line.rstrip("\r\n").split("\r") if state.strip()]
    return states[-1] if states else ""
