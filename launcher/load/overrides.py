"""`--set a.b=c`, and the flags that are short for it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from launcher.errors import Problem, SpecError
from launcher.load.compose import compose
from launcher.load.merge import merge
from launcher.load.nodes import Node, Place, Source
from launcher.load.reading import refuse_control_characters

FLAGS = {"nodes": "resources.nodes", "backend": "resources.backend"}
"""Flag -> the field that it sets. The one table of them."""

DOTTED = re.compile(r"[^.=\s]+(\.[^.=\s]+)*")


def overlay(overrides: Sequence[str], flags: Mapping[str, object]) -> tuple[Node | None, list[Problem]]:
    """All overrides as one tree, the later over the earlier, flags last; None where there are none."""
    sources = [Source(f"--set {number}", text, numbered=False) for number, text in enumerate(overrides, 1)]
    given = [(flag, value) for flag, value in flags.items() if value is not None]
    sources += [Source(f"--{flag}", f"{FLAGS[flag]}={value}", numbered=False, typed=False) for flag, value in given]
    problems: list[Problem] = []
    whole: Node | None = None
    for source in sources:
        try:
            node, found = branch(source)
        except SpecError as error:
            problems += error.problems
            continue
        problems += found
        whole = node if whole is None else merge(whole, node)
    return whole, problems


def branch(source: Source) -> tuple[Node, list[Problem]]:
    """One override as a tree with one leaf. Raises SpecError."""
    dotted, equals, _ = source.text.partition("=")
    start = Place(source)
    if not equals:
        raise SpecError([start.problem("expected PATH=VALUE, such as train.optimizer.lr=0.01, got no '='")])
    if not DOTTED.fullmatch(dotted):
        raise SpecError([start.problem("expected keys with dots between them in front of '=', such as train.optimizer.lr")])
    keys = dotted.split(".")
    if keys[0] == "extends":
        raise SpecError([start.problem("'extends' stands in a file; give the base's values one by one")])
    refuse_control_characters(source)
    value, problems = compose(source, skip=len(dotted) + 1)
    node = value or Node(Place(source, 1, len(dotted) + 2), None, "")
    for number in range(len(keys) - 1, -1, -1):
        place = Place(source, 1, 1 + sum(len(key) + 1 for key in keys[:number]))
        node = Node(place, {keys[number]: node}, keys={keys[number]: place}, indexed=True)
    return node, problems
