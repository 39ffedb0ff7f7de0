"""A job file of which only the sweep counts: its parameters are a function's arguments."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from launcher.errors import SpecError
from launcher.load.extends import Chain, read_tree
from launcher.load.merge import merge
from launcher.load.nodes import Node, Source
from launcher.load.overrides import overlay
from launcher.load.validate import no_plugins
from launcher.spec.search import Search


def searched(source: Source, overrides: Sequence[str]) -> Search:
    """Raises SpecError."""
    chain = Chain()
    over, problems = overlay(overrides, {})
    tree = read_tree(source, chain)
    tree = tree if over is None else merge(tree, over)
    if chain.problems or problems:
        raise SpecError([*chain.problems, *problems])
    try:
        with no_plugins():
            return Search.model_validate(named(tree, source))
    except ValidationError as error:
        from launcher.load.wording import problems_of

        raise SpecError(problems_of(error, tree)) from None


def named(tree: Node, source: Source) -> dict[str, object]:
    from launcher.load import name_of

    given = {key: value for key, value in tree.plain().items() if key in Search.model_fields}
    return {"name": name_of(source.name), **given}
