"""Lines of several ranks as one stream: each rank's in their order, and what several ranks print alike is shown once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

HOLD_S = 0.3
"""So long a line waits for the same line of other ranks."""
MOST_HELD = 2000


@dataclass
class Held:
    number: int
    text: str
    since: float
    ranks: list[int] = field(default_factory=list)


class Fold:
    def __init__(self, ranks: int) -> None:
        self.ranks = ranks
        self.count = 0
        self.held: deque[Held] = deque()
        self.alike: dict[str, deque[Held]] = {}
        self.newest: dict[int, int] = {}
        """Rank -> number of its newest line: the same text further up is not in this rank's order."""

    def add(self, rank: int, text: str, now: float) -> None:
        after = self.newest.get(rank, -1)
        line = next((each for each in self.alike.get(text, ()) if each.number > after), None)
        if line is None:
            line = Held(self.count, text, now)
            self.count += 1
            self.held.append(line)
            self.alike.setdefault(text, deque()).append(line)
        line.ranks.append(rank)
        self.newest[rank] = line.number

    def due(self, now: float, *, hold: float = HOLD_S) -> Iterator[str]:
        """Lines that need wait no longer: old enough, or printed by all."""
        while self.held and (self.complete() or now - self.held[0].since >= hold or len(self.held) > MOST_HELD):
            yield self.pop()

    def complete(self) -> bool:
        return len(self.held[0].ranks) >= self.ranks

    def rest(self) -> Iterator[str]:
        while self.held:
            yield self.pop()

    def pop(self) -> str:
        line = self.held.popleft()
        alike = self.alike[line.text]
        alike.popleft()
        if not alike:
            del self.alike[line.text]
        return f"{named(line.ranks)} | {line.text}"


def named(ranks: Iterable[int]) -> str:
    """`rank 3`, `ranks 0-3,7`."""
    spans: list[list[int]] = []
    for rank in sorted(ranks):
        if spans and rank == spans[-1][1] + 1:
            spans[-1][1] = rank
        else:
            spans.append([rank, rank])
    text = ",".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)
    return f"rank {text}" if text.isdecimal() else f"ranks {text}"
