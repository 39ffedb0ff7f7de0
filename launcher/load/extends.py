"""`extends: base.yaml`: a job file over those that it names, each path relative to the file that names it."""

from __future__ import annotations

import os.path
from dataclasses import dataclass, field
from pathlib import Path

from launcher.errors import Problem, SpecError
from launcher.load.compose import compose
from launcher.load.merge import merge
from launcher.load.nodes import Node, Place, Source
from launcher.load.reading import read_source

MOST_FILES = 64


@dataclass
class Chain:
    """What has been read so far for one job."""

    problems: list[Problem] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    """Files that are being read, outermost first."""
    files: int = 0
    incomplete: bool = False
    """Whether a file that is extended could not be read: then what it would have held is not told to be missing."""

    def lacks(self, problem: Problem) -> None:
        self.problems.append(problem)
        self.incomplete = True


def read_tree(source: Source, chain: Chain) -> Node:
    """The file merged over all that it extends. Raises SpecError where it holds no mapping."""
    root, problems = compose(source)
    chain.problems += problems
    chain.files += 1
    if root is None:
        raise SpecError([*chain.problems, Place(source).problem("the file is empty; a job has at least train: or run:")])
    if not isinstance(root.value, dict):
        raise SpecError([*chain.problems, root.place.problem("a job is a mapping of keys to values, such as 'seed: 1'")])
    chain.open.append(os.path.realpath(source.name))
    merged = over_bases(root, chain)
    chain.open.pop()
    return merged


def over_bases(root: Node, chain: Chain) -> Node:
    assert isinstance(root.value, dict)
    extends = root.value.get("extends")
    own = Node(root.place, {key: item for key, item in root.value.items() if key != "extends"}, keys=root.keys)
    base: Node | None = None
    for named in names(extends, chain):
        node = read_base(named, chain)
        base = node if base is None or node is None else merge(base, node)
    return own if base is None else merge(base, own)


def names(extends: Node | None, chain: Chain) -> list[Node]:
    if extends is None or extends.value is None:
        return []
    items = extends.value if isinstance(extends.value, list) else [extends]
    for item in items:
        if not isinstance(item.value, str):
            chain.problems.append(item.place.problem("expected the path of a file, or a list of paths", ("extends",)))
    return [item for item in items if isinstance(item.value, str) and "\0" not in item.value]


def read_base(named: Node, chain: Chain) -> Node | None:
    path = str(Path(named.place.source.name).parent / str(named.value))
    resolved = os.path.realpath(path)
    if resolved in chain.open:
        circle = [*chain.open[chain.open.index(resolved) :], resolved]
        message = f"files extend each other in a circle: {' -> '.join(map(os.path.relpath, circle))}"
        chain.lacks(named.place.problem(message, ("extends",)))
        return None
    if chain.files >= MOST_FILES:
        raise SpecError([*chain.problems, named.place.problem(f"more than {MOST_FILES} files are read by extends", ("extends",))])
    try:
        source = read_source(path)
    except SpecError as error:
        [problem] = error.problems
        chain.lacks(problem if problem.line else named.place.problem(f"'{path}': {problem.message}", ("extends",)))
        return None
    return read_tree(source, chain)
