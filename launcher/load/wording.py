"""Pydantic's errors in the words of a job file, each at the place of its value."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from launcher.errors import Problem, did_you_mean, near
from launcher.load.nearest import unknown_key
from launcher.load.nodes import Node, Path, Place
from launcher.load.scalars import resolve
from launcher.spec.base import shown
from launcher.spec.fields import ROOT, Spot, in_words
from launcher.spec.monitor import target_name

MOST_PROBLEMS = 100
MOST_NAMES = 16
"""Of a catalogue, in one message."""
OWN_WORDS = {"value_error", "disagreement"}
"""Errors whose message is ours already."""
NOT_OF_A_UNION = OWN_WORDS | {"missing", "extra_forbidden", "unknown_target"}


def problems_of(error: ValidationError, tree: Node) -> list[Problem]:
    """One problem for each value that is wrong, in the order of the file."""
    errors = error.errors(include_url=False)
    located = [(each, *reached(each["loc"], tree)) for each in errors[:MOST_PROBLEMS]]
    paths = [path for _, path, _ in located]
    found: dict[tuple[Path, str], Problem] = {}
    for each, path, walked in located:
        if each["type"] in NOT_OF_A_UNION or not is_above(path, paths):
            problem = worded(each, path, walked, tree)
            found.setdefault((path, problem.message), problem)
    if len(errors) > MOST_PROBLEMS:
        found[(), ""] = tree.place.problem(f"and {len(errors) - MOST_PROBLEMS:,} more problems")
    return list(found.values())


def is_above(path: Path, paths: list[Path]) -> bool:
    """Whether another error lies below: a union's other branch, which says less than the error inside."""
    return any(len(other) > len(path) and other[: len(path)] == path for other in paths)


def reached(loc: Path, tree: Node) -> tuple[Path, Node]:
    """How far a pydantic location leads into the tree: the names of union branches in it lead nowhere."""
    path: Path = ()
    for key in loc:
        child = tree.child(key)
        if child is not None:
            path, tree = (*path, key), child
    return path, tree


def worded(error: Any, path: Path, node: Node, tree: Node) -> Problem:
    if error["type"] == "missing":
        return missing(error["loc"][-1], path, tree)
    if error["type"] == "extra_forbidden":
        return extra(path, tree)
    if error["type"] == "unknown_target":
        return unknown_target(error["ctx"], path, node)
    if error["loc"][-1:] == ("[key]",):
        return place_of_key(path[:-1], path[-1], tree).problem(message_of(error), path)
    if error["type"] in OWN_WORDS:
        place = node.place if len(path) == 0 or not isinstance(node.value, dict) else place_of_key(path[:-1], path[-1], tree)
        return place.problem(message_of(error), path)
    spot = spot_at(path, tree)
    wanted = in_words(spot.annotation, spot.metadata) if spot else message_of(error)
    return node.place.problem(f"expected {wanted}, got {came(node)}{hint(spot, node)}", path)


def message_of(error: Any) -> str:
    return str(error["msg"]).removeprefix("Value error, ")


def came(node: Node) -> str:
    """Numbers and switches as they were written."""
    return node.text if node.text and len(node.text) < 60 and not isinstance(node.value, str) else shown(node.value)


def hint(spot: Spot | None, node: Node) -> str:
    kinds = [kind for kind, _ in spot.branches] if spot else []
    if str in kinds and isinstance(node.value, bool | int | float):
        return f': write "{node.text}" for text'
    if not {int, float}.isdisjoint(kinds) and isinstance(node.value, str) and not isinstance(resolve(node.value), str | None):
        return f": write {node.value} without quotes"
    if bool in kinds and isinstance(node.value, str) and node.value.lower() in SWITCHES:
        return f": write {SWITCHES[node.value.lower()]}"
    if int in kinds and isinstance(node.value, float) and node.value.is_integer():
        return f": write {int(node.value)}"
    if isinstance(node.value, str | int | float) and any(is_list_for(node.value, kind) for kind in kinds):
        return f": write [{node.text}]"
    return guess(node.value, choices(spot)) if isinstance(node.value, str) else ""


def is_list_for(value: object, kind: object) -> bool:
    """Text is no item of a list of numbers."""
    items = str(kind).removeprefix("list[")
    return items != str(kind) and not (isinstance(value, str) and items.startswith(("int", "float", "typing.Annotated[int")))


SWITCHES = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


def choices(spot: Spot | None) -> list[str]:
    """The words of closed choices."""
    return [word for kind, _ in spot.branches for word in getattr(kind, "__args__", ()) if isinstance(word, str)] if spot else []


def guess(word: str, known: list[str]) -> str:
    close = near(word, known)
    return f".{did_you_mean(close)}" if close else ""


def missing(key: Any, path: Path, tree: Node) -> Problem:
    spot = spot_at((*path, key), tree)
    what = f": {in_words(spot.annotation, spot.metadata)}" if spot else ""
    place = place_of_key(path[:-1], path[-1], tree) if path else tree.place
    return place.problem(f"missing key '{key}'{what}", path)


def extra(path: Path, tree: Node) -> Problem:
    spot = spot_at(path[:-1], tree)
    accepted = list(spot.fields(target_at(path[:-1], tree))) if spot else []
    message = unknown_key(str(path[-1]), path[:-1], [*accepted, "extends"] if len(path) == 1 else accepted)
    return place_of_key(path[:-1], path[-1], tree).problem(message, path)


def unknown_target(known: Any, path: Path, node: Node) -> Problem:
    said = f"no {known['noun']} is called {shown(node.value)}.{did_you_mean(near(str(node.value), known['known']))}"
    built_in = ", ".join(known["known"][:MOST_NAMES]) or "none"
    others = len(known["known"]) - MOST_NAMES
    if others > 0:
        field = ".".join(key for key in path if isinstance(key, str) and key != "target")
        built_in += f", and {others} more, which launch explain {field} shows"
    return node.place.problem(f"{said} Built in: {built_in}; or an import path such as my_pkg.mod:thing", path)


def place_of_key(path: Path, key: str | int, tree: Node) -> Place:
    """Where a key stands; for an item of a list, where the item does."""
    _, parent = reached(path, tree)
    if isinstance(key, str) and key in parent.keys:
        return parent.keys[key]
    child = parent.child(key)
    return child.place if child else parent.place


def target_at(path: Path, tree: Node) -> str | None:
    _, node = reached(path, tree)
    return target_name(node.plain())


def spot_at(path: Path, tree: Node) -> Spot | None:
    """The type at a path, built-in targets' arguments included."""
    spot: Spot | None = ROOT
    for depth, key in enumerate(path):
        spot = spot.child(key, target_at(path[:depth], tree) if spot.of else None) if spot else None
    return spot
