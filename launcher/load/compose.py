"""YAML text to nodes, in bounded time and memory: no tags, no merge keys, no duplicate keys, no deep or exploding documents.

PyYAML's event parser does the reading (libyaml's where it is there); it keeps no stack of its own that input could overflow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml import events

from launcher.errors import Problem, SpecError
from launcher.load.nodes import Node, Place, Source
from launcher.load.scalars import resolve

DEEPEST = 64
TOO_DEEP = f"nested deeper than {DEEPEST} levels: this is not a job"
MOST_VALUES = 20_000
"""Values of a document, with every alias written out."""
PARSER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


def compose(source: Source, *, skip: int = 0) -> tuple[Node | None, list[Problem]]:
    """The document's tree (None where it is empty), and the problems that did not hinder reading it.

    `skip`: characters at the start of the text that are not YAML (the path of an override). Raises SpecError where
    the text cannot be read on.
    """
    composer = Composer(source, skip)
    try:
        return composer.document(), composer.problems
    except yaml.MarkedYAMLError as error:
        raise SpecError([*composer.problems, composer.syntax(error)]) from None
    except yaml.YAMLError as error:
        raise SpecError([*composer.problems, Place(source).problem(f"this is not YAML: {error}")]) from None


@dataclass(frozen=True, slots=True)
class Anchored:
    node: Node
    values: int
    height: int


@dataclass
class Composer:
    source: Source
    skip: int
    problems: list[Problem] = field(default_factory=list)
    anchors: dict[str, Anchored | None] = field(default_factory=dict)
    """None while the anchored value is still being read."""
    values: int = 0
    deepest: int = 0

    def document(self) -> Node | None:
        stream = iter(yaml.parse(self.source.text[self.skip :], Loader=PARSER))
        next(stream)
        if isinstance(next(stream), events.StreamEndEvent):
            return None
        root = self.node(next(stream), stream, 1)
        next(stream)
        following = next(stream)
        if not isinstance(following, events.StreamEndEvent):
            raise self.stop(following, "a second document begins here; a job file holds one")
        return root

    def node(self, event: Any, stream: Iterator[Any], depth: int) -> Node:
        if isinstance(event, events.AliasEvent):
            return self.alias(event, depth)
        self.count(event, 1, depth)
        before, deepest = self.values, self.deepest
        self.refuse_tag(event)
        if event.anchor:
            self.anchors[event.anchor] = None
        self.deepest = depth
        node = self.content(event, stream, depth)
        if event.anchor:
            self.anchors[event.anchor] = Anchored(node, self.values - before + 1, self.deepest - depth)
        self.deepest = max(self.deepest, deepest)
        return node

    def content(self, event: Any, stream: Iterator[Any], depth: int) -> Node:
        if isinstance(event, events.MappingStartEvent):
            return self.mapping(event, stream, depth)
        if isinstance(event, events.SequenceStartEvent):
            items = [self.node(item, stream, depth + 1) for item in until(events.SequenceEndEvent, stream)]
            return Node(self.place(event), items)
        return self.scalar(event)

    def scalar(self, event: Any) -> Node:
        if "\0" in event.value:
            self.problems.append(self.place(event).problem("a NUL byte cannot stand in a job"))
        return Node(self.place(event), resolve(event.value) if event.style in (None, "") else event.value, event.value)

    def mapping(self, event: Any, stream: Iterator[Any], depth: int) -> Node:
        items: dict[str, Node] = {}
        keys: dict[str, Place] = {}
        for key_event in until(events.MappingEndEvent, stream):
            key = self.key(self.node(key_event, stream, depth + 1), key_event)
            value = self.node(next(stream), stream, depth + 1)
            if key in items:
                first = keys[key]
                self.problems.append(self.place(key_event).problem(f"key '{key}' is given twice (first in line {first.line})"))
            elif key is not None:
                items[key], keys[key] = value, self.place(key_event)
        return Node(self.place(event), items, keys=keys)

    def key(self, node: Node, event: Any) -> str | None:
        """The key's text, or None and a problem."""
        if node.text == "<<" and event.style in (None, ""):
            self.problems.append(self.place(event).problem("merge keys ('<<') are not read: use 'extends:' for a common base"))
            return None
        if isinstance(node.value, str):
            return node.value
        shown = f"'{node.text}'" if node.text is not None else "a list or mapping"
        self.problems.append(self.place(event).problem(f"a key must be text, got {shown}: quote it"))
        return None

    def alias(self, event: Any, depth: int) -> Node:
        anchored = self.anchors.get(event.anchor)
        if anchored is None:
            reason = "stands inside the value that it names" if event.anchor in self.anchors else "names no anchor above it"
            raise self.stop(event, f"alias '*{event.anchor}' {reason}")
        self.count(event, anchored.values, depth + anchored.height)
        self.deepest = max(self.deepest, depth + anchored.height)
        return anchored.node

    def count(self, event: Any, values: int, depth: int) -> None:
        """Raises SpecError where the document grows beyond bounds."""
        self.values += values
        if self.values > MOST_VALUES:
            raise self.stop(event, f"more than {MOST_VALUES:,} values (aliases written out): this is not a job")
        if depth > DEEPEST:
            raise self.stop(event, TOO_DEEP)

    def refuse_tag(self, event: Any) -> None:
        if event.tag is not None:
            self.problems.append(self.place(event).problem(f"tags are not read (got '{event.tag}'): quote the value for text"))

    def stop(self, event: Any, message: str) -> SpecError:
        return SpecError([*self.problems, self.place(event).problem(message)])

    def syntax(self, error: yaml.MarkedYAMLError) -> Problem:
        """libyaml counts a line of its own behind the last one, and has a limit of its own for nesting."""
        mark = error.problem_mark or error.context_mark
        place = self.at(mark.line, mark.column) if mark else Place(self.source)
        if error.problem and "nesting depth" in error.problem:
            return place.problem(TOO_DEEP)
        if mark and mark.line < len(self.source.lines) and self.source.lines[mark.line][mark.column :].startswith("\t"):
            return place.problem("a tab stands here: YAML is indented with spaces")
        return place.problem(f"this is not YAML: {', '.join(filter(None, (error.context, error.problem)))}")

    def place(self, event: Any) -> Place:
        return self.at(event.start_mark.line, event.start_mark.column)

    def at(self, line: int, column: int) -> Place:
        if line >= len(self.source.lines):
            return self.source.end
        return Place(self.source, line + 1, column + 1 + (self.skip if line == 0 else 0))


def until(end: type[events.Event], stream: Iterator[Any]) -> Iterator[Any]:
    """The events up to the end; what each begins is consumed by the caller."""
    for event in stream:
        if isinstance(event, end):
            return
        yield event
