"""Where each value of a job comes from: a line that somebody wrote, or a default and its reason."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from launcher.errors import SpecError
from launcher.load import resolved
from launcher.load.differ import leaves
from launcher.load.dump import given
from launcher.load.nodes import Node, Place
from launcher.load.reading import read_source
from launcher.load.wording import spot_at, target_at
from launcher.spec.docs import derived
from launcher.spec.docstrings import doc_of

SHORTHANDS = ("target", "monitor")
"""What a bare name stands for: `loss: mse` is `{target: mse}`."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """One value of a job, lists whole."""

    path: str
    """Dotted."""
    value: Any
    source: str | None
    """Such as `base.yaml:7` or `--set 1`; None where it came by default."""
    why: str | None
    """The reason of a default."""


def origins(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> list[Origin]:
    """Every value of a job file's job, those that are none or empty by default apart. Raises SpecError."""
    job, tree = resolved(read_source(path), overrides, {}, None)
    return [origin(dotted, value, tree) for dotted, value in leaves(given(job))]


def origin(dotted: str, value: Any, tree: Node) -> Origin:
    keys = tuple(dotted.split("."))
    place = place_at(keys, tree)
    return Origin(path=dotted, value=value, source=shown(place) if place else None, why=None if place else why(keys, tree))


def place_at(keys: tuple[str, ...], tree: Node) -> Place | None:
    """Where the value was written; None where it was not."""
    for number, key in enumerate(keys):
        child = tree.child(key)
        if child is None:
            bare = keys[number:] in [(name,) for name in SHORTHANDS] and isinstance(tree.value, str)
            return tree.place if bare else None
        tree = child
    return None if tree.value is None else tree.place


def problem_at(path: str | os.PathLike[str], overrides: Sequence[str], keys: tuple[str, ...], message: str) -> SpecError:
    """What only the machine could tell of a value, at the place where it was written. Raises SpecError itself."""
    _, tree = resolved(read_source(path), overrides, {}, None)
    return SpecError([(place_at(keys, tree) or tree.place).problem(message, keys)])


def shown(place: Place) -> str:
    return f"{place.source.name}:{place.line}" if place.source.numbered else place.source.name


def why(keys: tuple[str, ...], tree: Node) -> str:
    return "; ".join(reasons(keys, tree))


def reasons(keys: tuple[str, ...], tree: Node) -> Iterator[str]:
    spot = spot_at(keys, tree)
    if spot is None:
        return
    if spot.owner is None:
        yield f"{target_at(keys[:-1], tree)}'s own"
    else:
        yield derived(spot) or doc_of(spot).rstrip(".")
