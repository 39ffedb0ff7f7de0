"""How a value is written in a job: defaults and examples for `launch explain`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from launcher.spec.base import Said
from launcher.spec.catalogue import CATALOGUE, REQUIRED, Entry
from launcher.spec.fields import Spot, arguments_of
from launcher.spec.values import Quantity


def written(value: Any) -> str:
    """A value in YAML's flow style."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case BaseModel():
            return written(value.model_dump(exclude_none=True))
        case dict():
            return "{" + ", ".join(f"{key}: {written(item)}" for key, item in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(written, value)) + "]"
    return str(value)


IN_LISTS = ("augment", "metric", "layer")
"""Kinds of targets."""


class Named(str):
    """A step of a path that names a built-in target."""

    __slots__ = ()


class Listed(Named):
    """One that stands in a list."""

    __slots__ = ()


def step(entry: Entry) -> Named:
    return (Listed if entry.kind in IN_LISTS else Named)(entry.name)


def example_of(keys: Sequence[str], spot: Spot) -> str:
    """One line that sets the field at a path."""
    return nested(keys, sample(spot))


def entry_example(keys: Sequence[str], entry: Entry) -> str:
    """One line that takes a built-in target."""
    value = entry_sample(entry)
    return nested(keys, [value] if entry.kind in IN_LISTS else value)


def nested(keys: Sequence[str], value: Any) -> str:
    for key in reversed(keys[1:]):
        value = {"target": key, **value} if isinstance(key, Named) else {key: value}
        value = [value] if isinstance(key, Listed) else value
    return f"{keys[0]}: {written(value)}"


def entry_sample(entry: Entry) -> dict[str, Any]:
    arguments = {name: sample(spot) for name, spot in arguments_of(entry).items() if spot.default is REQUIRED}
    first = next((name for name in entry.arguments if entry.arguments[name][1] is not REQUIRED), None)
    return {"target": entry.name, **(arguments or ({first: entry.arguments[first][1]} if first else {}))}


def sample(spot: Spot) -> Any:
    """The default, or something that is accepted."""
    said = [note.example for _, notes in spot.branches for note in notes if isinstance(note, Said) and note.example]
    if spot.default is not REQUIRED and spot.default not in (None, [], {}):
        return spot.default
    if said:
        return said[0]
    if spot.of is not None:
        known = [entry for entry in CATALOGUE.values() if entry.kind == spot.of.kind]
        return entry_sample(known[0]) if known else {"target": "my_pkg.mod:thing"}
    if spot.model is not None:
        needed = {name: sample(field) for name, field in spot.fields().items() if field.default is REQUIRED}
        return needed or {name: sample(field) for name, field in list(spot.fields().items())[:1]}
    return sample_value(spot)


def sample_value(spot: Spot) -> Any:
    kind: Any = get_origin(spot.branches[0][0])
    item = spot.child(0) if kind is list else spot.child("NAME") if kind is dict else None
    if item is None:
        return sample_scalar(spot)
    return [sample(item)] if kind is list else {"NAME": sample(item)}


def sample_scalar(spot: Spot) -> Any:
    kind, notes = spot.branches[0]
    choices: Any = get_origin(kind)
    if choices is Literal:
        return get_args(kind)[0]
    if isinstance(kind, type) and issubclass(kind, Quantity):
        return kind.examples[0]
    least = next((note.ge for note in notes if hasattr(note, "ge")), 1)
    return {int: max(least, 10), float: 0.5, bool: True}.get(kind, "text")
