"""What the job's types say about themselves: `launch explain`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from launcher.errors import UsageError, did_you_mean, near
from launcher.spec.catalogue import CATALOGUE, REQUIRED, Entry
from launcher.spec.docstrings import about, doc_of
from launcher.spec.example import entry_example, example_of, step, written
from launcher.spec.fields import ROOT, Spot, arguments_of, in_words
from launcher.spec.own import OWN
from launcher.spec.target import Of

DERIVED = {("Job", "name"): "the file's stem", ("Job", "workdir"): "the folder where launch is called", ("Log", "wandb"): "false"}
"""(model, field) -> a default that is not the constant in its model."""
FREE = {"env": "A variable of the ranks' environment."}
"""What stands under keys that the user chooses."""


@dataclass(frozen=True, kw_only=True)
class Key:
    """One key of a mapping, or one argument of a target."""

    name: str
    accepts: str
    default: str | None
    """In words; None where it must be given."""
    doc: str


@dataclass(frozen=True, kw_only=True)
class BuiltIn:
    """A target of the catalogue."""

    name: str
    doc: str
    arguments: tuple[Key, ...]


@dataclass(frozen=True, kw_only=True)
class Explanation:
    path: str
    """Dotted; empty for the whole job."""
    doc: str
    accepts: str
    default: str | None = None
    """In words; None where it must be given."""
    keys: tuple[Key, ...] = ()
    built_in: tuple[BuiltIn, ...] = ()
    own: str | None = None
    """What an import path must lead to, for a target."""
    example: str | None = None


EXTENDS = Explanation(
    path="extends",
    doc="Files that this one lies over, in order, each relative to the file that names it: mappings merge, all else is replaced. "
    "Another target brings its own arguments, and `null` takes a value away.",
    accepts="the path of a job file, or a list of paths",
    default="none",
    example="extends: base.yaml",
)
"""The one key that is read before there is a job."""


def explain(path: str = "") -> Explanation:
    """What may stand at a dotted path: `train.optimizer`, `train.optimizer.sgd`, `train.optimizer.sgd.lr`.

    Raises UsageError, with the nearest name, where there is nothing of that name.
    """
    keys = [key for key in path.split(".") if key]
    if keys == [EXTENDS.path]:
        return EXTENDS
    return walked(ROOT, keys, 0)


def walked(spot: Spot, keys: list[str], begin: int) -> Explanation:
    """From a spot that `keys[:begin]` lead to. Raises UsageError."""
    for number, key in enumerate(keys[begin:], begin):
        of = target_of(spot)
        if of is not None and (of.kind, key) in CATALOGUE:
            return explain_entry(CATALOGUE[of.kind, key], keys, number)
        child = below(spot, key)
        if child is None and of is not None and number == len(keys) - 1:
            return explain_argument(of, keys)
        if child is None:
            elsewhere = places_of(key) if len(keys) == 1 else []
            raise UsageError(no_such(key, ".".join(keys[:number]), known_below(spot), elsewhere))
        spot = child
    return explanation(spot, keys, doc_of(spot) or FREE.get(".".join(keys[:-1]), ""))


def below(spot: Spot, key: str) -> Spot | None:
    """The key's field; in a list also that of its items."""
    return inner(spot).get(key) or spot.child(int(key) if key.isdecimal() else key)


def target_of(spot: Spot) -> Of | None:
    return spot.of or (spot.item.of if spot.item else None)


def explain_argument(of: Of, keys: list[str]) -> Explanation:
    """An argument, whichever built-in target takes it. Raises UsageError where none does."""
    name, above = keys[-1], ".".join(keys[:-1])
    takers = [entry for entry in entries_of(of) if name in entry.arguments]
    if not takers:
        raise UsageError(no_such(name, above, [name for entry in entries_of(of) for name in (entry.name, *entry.arguments)]))
    defaults = [default_in_words(arguments_of(entry)[name]) for entry in takers]
    said = ", ".join(f"{entry.name} (default {default or 'none'})" for entry, default in zip(takers, defaults, strict=True))
    spot = arguments_of(takers[0])[name]
    return explanation(replace(spot, default=REQUIRED), keys, in_full(f"Argument of {said}.", spot))


def in_full(said: str, spot: Spot) -> str:
    told = about(spot)
    return said if told is None else "\n".join((f"{said} {told.words}", *told.more))


def explain_entry(entry: Entry, keys: list[str], depth: int) -> Explanation:
    """A built-in target whose name is `keys[depth]`, or one of its arguments. Raises UsageError."""
    arguments = arguments_of(entry)
    path, rest = ".".join(keys), keys[depth + 1 :]
    if not rest:
        doc = f"{entry.doc[0].upper()}{entry.doc[1:]}."
        accepts = f"{{target: {entry.name}, ...arguments}}"
        example = entry_example(keys[:depth], entry)
        return Explanation(path=path, doc=doc, accepts=accepts, keys=keys_of(arguments), example=example)
    steps = [*keys[:depth], step(entry), *rest]
    if rest[0] in arguments and len(rest) > 1 and target_of(arguments[rest[0]]) is not None:
        return walked(arguments[rest[0]], steps, depth + 2)
    if rest[0] not in arguments or len(rest) > 1:
        raise UsageError(no_such(rest[-1], ".".join(keys[:-1]), list(arguments) if len(rest) == 1 else []))
    return explanation(arguments[rest[0]], steps, in_full(f"Argument of {entry.name}: {entry.doc}.", arguments[rest[0]]))


def explanation(spot: Spot, keys: list[str], doc: str) -> Explanation:
    of, path = target_of(spot), ".".join(keys)
    return Explanation(
        path=path,
        doc=doc,
        accepts="a YAML file with these keys" if spot is ROOT else in_words(spot.annotation, spot.metadata),
        default=None if spot is ROOT else default_in_words(spot),
        keys=keys_of({name: field for name, field in inner(spot).items() if name != "target"})
        + (() if path else (of_extends(),)),
        built_in=tuple(built_in(entry) for entry in entries_of(of)),
        own=OWN[of.kind] if of else None,
        example=example_of(keys, spot) if path else None,
    )


def of_extends() -> Key:
    return Key(name=EXTENDS.path, accepts=EXTENDS.accepts, default=EXTENDS.default, doc=EXTENDS.doc)


def built_in(entry: Entry) -> BuiltIn:
    return BuiltIn(name=entry.name, doc=entry.doc, arguments=keys_of(arguments_of(entry)))


def default_in_words(spot: Spot) -> str | None:
    """None where it must be given."""
    if (told := derived(spot)) is not None or spot.default is REQUIRED:
        return told
    if spot.model is not None and spot.default == {}:
        return "that of each key"
    return "none" if spot.default is None else written(spot.default)


def derived(spot: Spot) -> str | None:
    """What a default comes from that is no constant in its model."""
    return DERIVED.get((spot.owner.__name__, spot.name)) if spot.owner else None


def inner(spot: Spot) -> dict[str, Spot]:
    """The keys below, also those of a list's items."""
    return spot.fields() or (spot.item.fields() if spot.item else {})


def keys_of(fields: dict[str, Spot]) -> tuple[Key, ...]:
    return tuple(
        Key(name=name, accepts=in_words(field.annotation, field.metadata), default=default_in_words(field), doc=doc_of(field))
        for name, field in fields.items()
        if name != "target"
    )


def entries_of(of: Of | None) -> list[Entry]:
    return [entry for entry in CATALOGUE.values() if of is not None and entry.kind == of.kind]


def known_below(spot: Spot) -> list[str]:
    return [name for name in inner(spot) if name != "target"] + [entry.name for entry in entries_of(target_of(spot))]


def places_of(name: str, spot: Spot = ROOT, above: str = "") -> list[str]:
    """Where fields, built-in targets and their arguments of this name stand."""
    found = [f"{above}{each}" for each in known_below(spot) if each == name and above]
    takers = [entry for entry in entries_of(target_of(spot)) if name in entry.arguments]
    found += [f"{above}{name}"] if takers else []
    return found + [place for each, field in inner(spot).items() for place in places_of(name, field, f"{above}{each}.")]


def no_such(key: str, above: str, known: list[str], elsewhere: list[str] | None = None) -> str:
    where = f"under {above}" if above else "in a job"
    if elsewhere:
        return f"there is no '{key}' {where}. Did you mean {' or '.join(elsewhere)}?"
    if close := near(key, known):
        return f"there is no '{key}' {where}.{did_you_mean(close)}"
    return f"there is no '{key}' {where}. There is: {', '.join(known) or 'nothing'}"
