"""`resources.slurm.profile: NAME`: a site's defaults below a job, merged under it before anything is checked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from launcher.errors import Problem, SpecError, did_you_mean, near
from launcher.load.compose import compose
from launcher.load.merge import merge
from launcher.load.nodes import Node
from launcher.load.reading import read_source

PACKAGE = Path(__file__).parents[1]
WHERE = ("resources", "slurm", "profile")
HOLDS = "a site's profile holds environment: and resources: {slurm: ...} alone"


def over_profile(tree: Node, problems: list[Problem]) -> Node:
    """The tree over the profile that it names; the name itself is used up, as `extends` is. Raises SpecError."""
    named = at(tree, WHERE)
    if named is None or named.value is None:
        return tree
    if not isinstance(named.value, str):
        problems.append(named.place.problem("expected the name of a profile", WHERE))
        return tree
    path = find(named)
    root, found = compose(read_source(path))
    problems += found
    if root is None or not isinstance(root.value, dict):
        raise SpecError([named.place.problem(f"the profile {path} is no mapping: {HOLDS}", WHERE)])
    problems += misplaced(root)
    return merge(root, without(tree, WHERE))


def at(tree: Node, keys: tuple[str, ...]) -> Node | None:
    node: Node | None = tree
    for key in keys:
        node = node.child(key) if node is not None else None
    return node


def without(tree: Node, keys: tuple[str, ...]) -> Node:
    """The tree less one key."""
    assert isinstance(tree.value, dict)
    first, *rest = keys
    items = {key: item for key, item in tree.value.items() if key != first or rest}
    if rest:
        items[first] = without(tree.value[first], tuple(rest))
    return Node(tree.place, items, keys=tree.keys, indexed=tree.indexed)


def find(named: Node) -> Path:
    """The user's own profile before the one that came with launcher. Raises SpecError with those that there are."""
    there = dict(reversed(list(profiles())))
    name = str(named.value)
    if name in there:
        return there[name]
    hint = did_you_mean(near(name, there))
    raise SpecError(
        [
            named.place.problem(
                f"there is no profile '{name}' in {own_folder()}.{hint} There are: {', '.join(sorted(there))}", WHERE
            )
        ]
    )


def profiles() -> Iterator[tuple[str, Path]]:
    """Names and files, the user's own first."""
    inside = PACKAGE / "starter" / "slurm"
    shipped = (inside if inside.is_dir() else PACKAGE.parent / "slurm") / "profiles"
    for folder in (own_folder(), shipped):
        yield from ((path.stem, path) for path in sorted(folder.glob("*.yaml")))


def own_folder() -> Path:
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")  # noqa: PTH111  # works without a home
    return Path(config) / "launcher"


def misplaced(root: Node) -> Iterator[Problem]:
    """What a profile may not hold; unknown keys below what it may are found with the job's."""
    assert isinstance(root.value, dict)
    for key, node in root.value.items():
        if key == "resources" and isinstance(node.value, dict):
            yield from (
                node.keys.get(own, item.place).problem(HOLDS, (key, own)) for own, item in node.value.items() if own != "slurm"
            )
        elif key not in ("environment", "resources"):
            yield root.keys.get(key, node.place).problem(HOLDS, (key,))
    if (nested := at(root, WHERE)) is not None:
        yield nested.place.problem("a profile names no other profile", WHERE)
