"""What differs between two jobs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from launcher.load.dump import given
from launcher.spec import Job


def differing(old: Job, new: Job) -> list[tuple[str, Any, Any]]:
    before, after = dict(leaves(given(old))), dict(leaves(given(new)))
    paths = [*before, *(path for path in after if path not in before)]
    return [(path, before.get(path), after.get(path)) for path in paths if before.get(path) != after.get(path)]


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}" if path else key)
    else:
        yield path, value
