"""Files over files, overrides over files: mappings merge, all else is replaced.

A target is a mapping like any other, except that a different `target` brings its own arguments: those of the one that it
replaces are dropped, for they belong to another thing.
"""

from __future__ import annotations

from launcher.load.nodes import Node


def merge(base: Node, over: Node) -> Node:
    """`over` on `base`; each value keeps the place where it was written."""
    if not isinstance(over.value, dict):
        return over
    base = as_target(base, over)
    if isinstance(base.value, list) and over.indexed:
        return merge_items(base, over)
    if not isinstance(base.value, dict) or replaces_target(base.value, over.value):
        return over
    items = dict(base.value)
    for key, item in over.value.items():
        items[key] = merge(items[key], item) if key in items else item
    place = base.place if over.indexed else over.place
    return Node(place, items, keys=base.keys | over.keys, indexed=base.indexed and over.indexed)


def as_target(base: Node, over: Node) -> Node:
    """`optimizer: sgd` under arguments for it is `{target: sgd}`."""
    if isinstance(base.value, str) and isinstance(over.value, dict) and over.value and "target" not in over.value:
        return Node(base.place, {"target": base}, keys={"target": base.place})
    return base


def replaces_target(base: dict[str, Node], over: dict[str, Node]) -> bool:
    return "target" in base and "target" in over and base["target"].value != over["target"].value


def merge_items(base: Node, over: Node) -> Node:
    """`augment.0.size` reaches into a list; a number beyond its end leaves the override as it is, to be refused."""
    assert isinstance(base.value, list)
    assert isinstance(over.value, dict)
    items = list(base.value)
    for key, item in over.value.items():
        if not key.isdecimal() or int(key) >= len(items):
            return over
        items[int(key)] = merge(items[int(key)], item)
    return Node(base.place, items)
