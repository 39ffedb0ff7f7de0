"""A job file as it was read: values that know where they were written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from launcher.errors import Problem
from launcher.load.scalars import Scalar

Path = tuple[str | int, ...]

LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
EXCERPT_WIDTH = 100
"""Characters of an offending line that are shown."""
TEXTS = {("env",), ("run", "args"), ("run", "program")}
"""Where scalars are taken as they were written: environment and argv are byte for byte."""


@dataclass(frozen=True)
class Source:
    """A text that was given: a file, or an override."""

    name: str
    """As the user typed it."""
    text: str
    numbered: bool = True
    """Whether its lines are counted; an override has one."""
    typed: bool = True
    """Whether the user wrote it like this, so that messages can quote it."""

    @cached_property
    def lines(self) -> list[str]:
        return LINE_BREAK.split(self.text)

    @property
    def end(self) -> Place:
        """Behind the last character."""
        return Place(self, len(self.lines), len(self.lines[-1]) + 1)


@dataclass(frozen=True, slots=True)
class Place:
    source: Source
    line: int = 1
    """From 1."""
    column: int = 1
    """From 1, in characters."""

    def problem(self, message: str, path: Path = ()) -> Problem:
        line = self.source.lines[self.line - 1] if self.line <= len(self.source.lines) else ""
        excerpt, caret = window(line, self.column)
        return Problem(
            source=self.source.name,
            line=self.line if self.source.numbered else None,
            column=self.column,
            path=path,
            message=message,
            excerpt=excerpt if excerpt and self.source.typed else None,
            caret=caret,
        )


def window(line: str, column: int) -> tuple[str, int]:
    """The part of a line around a column that fits on a screen, and the column within it. Tabs become single spaces."""
    start = max(0, min(column - 1 - EXCERPT_WIDTH // 2, len(line) - EXCERPT_WIDTH))
    part = line[start : start + EXCERPT_WIDTH]
    shown = "".join(character if character.isprintable() else " " for character in part).rstrip()
    before, after = "... " if start else "", " ..." if start + EXCERPT_WIDTH < len(line) else ""
    return f"{before}{shown}{after}" if shown else "", column - start + len(before)


@dataclass(frozen=True, slots=True)
class Node:
    """A scalar, a list of nodes or a mapping to nodes."""

    place: Place
    value: Scalar | list[Node] | dict[str, Node]
    text: str | None = None
    """A scalar as it was written."""
    keys: dict[str, Place] = field(default_factory=dict)
    """Where the keys of a mapping stand."""
    indexed: bool = False
    """A mapping made of an override's path, so that its keys may count the items of a list."""

    def plain(self, path: Path = ()) -> Any:
        """The bare value."""
        match self.value:
            case dict() as items:
                return {key: item.plain((*path, key)) for key, item in items.items()}
            case list() as items:
                return [item.plain((*path, index)) for index, item in enumerate(items)]
        return self.text if path[:-1] in TEXTS else self.value

    def scalars(self, path: Path = ()) -> Iterator[tuple[Path, Node]]:
        match self.value:
            case dict() as items:
                for key, item in items.items():
                    yield from item.scalars((*path, key))
            case list() as items:
                for index, item in enumerate(items):
                    yield from item.scalars((*path, index))
            case _:
                yield path, self

    def child(self, key: str | int) -> Node | None:
        if isinstance(self.value, dict):
            return self.value.get(key) if isinstance(key, str) else None
        if isinstance(self.value, list) and isinstance(key, int) and 0 <= key < len(self.value):
            return self.value[key]
        return None
