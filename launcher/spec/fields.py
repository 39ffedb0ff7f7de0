"""The job's types as a tree to walk: which field stands at a path, and what it accepts, in words."""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from launcher.spec.base import Said
from launcher.spec.catalogue import CATALOGUE, REQUIRED, Entry, Kind
from launcher.spec.job import Job
from launcher.spec.target import Of, noun
from launcher.spec.values import Quantity

Branch = tuple[Any, tuple[Any, ...]]
"""A type without its annotations, and these."""
PLURALS: dict[Any, str] = {str: "text", int: "integers", float: "numbers", bool: "booleans"}


@dataclass(frozen=True, kw_only=True)
class Spot:
    """What may stand at one place of a job."""

    annotation: Any
    metadata: tuple[Any, ...] = ()
    default: Any = REQUIRED
    owner: type[BaseModel] | None = None
    """The model that has it as a field."""
    name: str = ""

    @property
    def branches(self) -> list[Branch]:
        return list(branches(self.annotation, self.metadata))

    @property
    def of(self) -> Of | None:
        """Set where it is a target."""
        return next((note for _, notes in self.branches for note in notes if isinstance(note, Of)), None)

    @property
    def model(self) -> type[BaseModel] | None:
        """Set where it is a mapping with keys of its own, a target apart."""
        models = [kind for kind, _ in self.branches if isinstance(kind, type) and issubclass(kind, BaseModel)]
        return models[0] if models and self.of is None else None

    def fields(self, target: str | None = None) -> dict[str, Spot]:
        """The keys that may stand in it; for a target those of the built-in one of that name."""
        if self.of is not None:
            return target_fields(self.of, target)
        return fields_of(self.model) if self.model else {}

    def child(self, key: str | int, target: str | None = None) -> Spot | None:
        """What stands under a key, or at an index."""
        field = self.fields(target).get(key) if isinstance(key, str) else None
        return field or next(filter(None, (item_of(branch, key) for branch in self.branches)), None)

    @property
    def item(self) -> Spot | None:
        """What stands in it, where it is a list of mappings or targets."""
        item = self.child(0)
        return item if item and (item.of or item.model) else None


ROOT = Spot(annotation=Job, default={})


def branches(annotation: Any, metadata: tuple[Any, ...] = ()) -> Iterator[Branch]:
    """The members of a union, each with what annotates it."""
    if get_origin(annotation) is Annotated:
        inner, *notes = get_args(annotation)
        yield from branches(inner, (*flattened(notes), *metadata))
    elif get_origin(annotation) in (Union, types.UnionType):
        for member in get_args(annotation):
            yield from branches(member, metadata)
    else:
        yield annotation, metadata


def flattened(notes: list[Any]) -> Iterator[Any]:
    for note in notes:
        yield from note.metadata if isinstance(note, FieldInfo) else (note,)


def fields_of(model: type[BaseModel]) -> dict[str, Spot]:
    return {
        name: Spot(annotation=field.annotation, metadata=tuple(field.metadata), default=default_of(field), owner=model, name=name)
        for name, field in model.model_fields.items()
    }


def default_of(field: FieldInfo) -> Any:
    return REQUIRED if field.is_required() else field.default


def target_fields(of: Of, target: str | None) -> dict[str, Spot]:
    beside = {name: spot for name, spot in fields_of(of.beside).items() if name != "target"} if of.beside else {}
    named = {"target": Spot(annotation=Annotated[str, Said("a name from the catalogue or an import path")], name="target")}
    entry = CATALOGUE.get((of.kind, target)) if target else None
    return named | (arguments_of(entry) if entry else {}) | beside


def arguments_of(entry: Entry) -> dict[str, Spot]:
    return {name: Spot(annotation=kind, default=default, name=name) for name, (kind, default) in entry.arguments.items()}


def item_of(branch: Branch, key: str | int) -> Spot | None:
    """What stands in a list, or under a key that the user chooses."""
    annotation, _ = branch
    origin: Any = get_origin(annotation)
    container = list if isinstance(key, int) else dict
    return Spot(annotation=get_args(annotation)[-1]) if origin is container else None


def in_words(annotation: Any, metadata: tuple[Any, ...] = ()) -> str:
    """What a type accepts: `auto or an integer >= 1`."""
    said = [note.words for note in metadata if isinstance(note, Said)]
    if said:
        return said[0]
    members = [member for member in branches(annotation, metadata) if member[0] is not type(None)]
    words = list(dict.fromkeys(member_in_words(*member) for member in members))
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def member_in_words(annotation: Any, notes: tuple[Any, ...]) -> str:
    for note in notes:
        if isinstance(note, Said):
            return note.words
        if isinstance(note, Of):
            return target_in_words(note.kind)
    if get_origin(annotation) is Literal:
        *most, last = map(str, get_args(annotation))
        return f"{', '.join(most)} or {last}" if most else last
    if get_origin(annotation) is list:
        return list_in_words(get_args(annotation)[0], notes)
    if get_origin(annotation) is dict:
        return "a mapping of names to text"
    return scalar_in_words(annotation, notes)


def target_in_words(kind: Kind) -> str:
    article = "an" if kind[0] in "aeiou" else "a"
    return f"{article} {noun(kind)}: a name, or {{target: NAME, ...arguments}}"


def list_in_words(item: Any, notes: tuple[Any, ...]) -> str:
    bare, bounds = next(branches(item))
    count = {name: getattr(note, name) for note in notes for name in ("min_length", "max_length") if hasattr(note, name)}
    exact = f"{count['min_length']} " if "max_length" in count and count["min_length"] == count["max_length"] else ""
    return (
        f"a list of {exact}{PLURALS[bare]}{bounds_in_words(bounds)}"
        if bare in PLURALS
        else f"a list; each item is {in_words(item)}"
    )


def scalar_in_words(annotation: Any, notes: tuple[Any, ...]) -> str:
    if isinstance(annotation, type) and issubclass(annotation, Quantity):
        return annotation.wanted
    if annotation in (int, float):
        return ("an integer" if annotation is int else "a number") + bounds_in_words(notes)
    return {bool: "true or false", str: "text", Any: "anything"}.get(annotation, "a mapping")


def bounds_in_words(notes: tuple[Any, ...]) -> str:
    bounds = {name: getattr(note, name) for note in notes for name in ("ge", "gt", "le", "lt") if hasattr(note, name)}
    if "ge" in bounds and "le" in bounds:
        return f" from {bounds['ge']:,} to {bounds['le']:,}"
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    return "".join(f" {signs[name]} {bound}" for name, bound in bounds.items() if abs(bound) < 2**53)
