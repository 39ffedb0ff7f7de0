"""Machines that are reached by ssh, as a person writes them: `gpu1`, `me@gpu2:4`, `[fd00::7]:2`."""

from __future__ import annotations

import re
from dataclasses import dataclass

FORM = re.compile(
    r"(?P<destination>(?:[A-Za-z0-9_][\w.+-]*@)?(?:\[[0-9A-Fa-f:.]+(?:%\w+)?\]|[A-Za-z0-9_][A-Za-z0-9._-]*))(?::(?P<slots>\d+))?"
)
"""No part of it may begin with a dash, or ssh would read an option."""


@dataclass(frozen=True, kw_only=True)
class Host:
    destination: str
    """What ssh is given: `[user@]host`."""
    slots: int | None = None
    """How many ranks it takes; None leaves it to its GPUs and cores."""


def parse_host(text: str) -> Host:
    """Raises ValueError with what is accepted."""
    match = FORM.fullmatch(text.strip())
    if match is None or match["slots"] == "0":
        raise ValueError(
            f"expected [user@]host or [user@]host:slots, got '{text}'. Examples: gpu1, me@gpu2:4. "
            "An IPv6 address stands in brackets: [fd00::7]"
        )
    destination = match["destination"].replace("[", "").replace("]", "")
    return Host(destination=destination, slots=int(match["slots"]) if match["slots"] else None)


def host_entry(text: str) -> str:
    parse_host(text)
    return text
