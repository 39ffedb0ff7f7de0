"""Where in a job file stands what a message speaks of."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from launcher.errors import LaunchError

Written = Callable[[str], str | None]
"""From a message to a sentence that says where."""

FIELD = re.compile(r"\b(?:train|resources|checkpoint|log|retry)(?:\.\w+)+")


def written_at(message: str, spec: str, overrides: Sequence[str] = ()) -> str | None:
    """`train.loss is written at resnet.yaml:8`, of the first field that is named; None where it came by default."""
    from launcher.load.origins import origins

    if (named := FIELD.search(message)) is None:
        return None
    try:
        sources = [(each.path, each.source) for each in origins(spec, overrides) if each.source is not None]
    except LaunchError:  # the file may have changed since
        return None
    field = named[0]
    found = next((source for path, source in sources if f"{path}.".startswith(f"{field}.")), None)
    return f"{field} is written at {found}" if found else None
