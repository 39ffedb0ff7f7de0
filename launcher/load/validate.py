"""The tree against the job's types; every error with the place of the value."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from launcher.errors import Problem
from launcher.load.nodes import Node
from launcher.spec import Job

PLUGINS_OFF = "PYDANTIC_DISABLE_PLUGINS"


def validated(tree: Node, defaults: dict[str, Any], *, folder: Path) -> tuple[Job | None, list[Problem]]:
    """The job, or the problems. A relative `workdir` starts at `folder`."""
    given = defaults | tree.plain()
    if isinstance(given["workdir"], str):
        given["workdir"] = absolute(given["workdir"], folder)
    misplaced = list(misplaced_references(tree))
    try:
        with no_plugins():
            return Job.model_validate(given), misplaced
    except ValidationError as error:
        from launcher.load.wording import problems_of

        return None, [*misplaced, *problems_of(error, tree)]


@contextmanager
def no_plugins() -> Iterator[None]:
    """Pydantic would look through all installed packages (10 ms) for plugins, and import them with all that they need."""
    before = os.environ.get(PLUGINS_OFF)
    os.environ[PLUGINS_OFF] = "__all__"
    try:
        yield
    finally:
        del os.environ[PLUGINS_OFF]
        if before is not None:
            os.environ[PLUGINS_OFF] = before


def absolute(path: str, folder: Path) -> str:
    """Symbolic links stay: a cluster's nodes may reach the same folder by another route."""
    return os.path.abspath(folder / os.path.expanduser(path))  # noqa: PTH100, PTH111


def misplaced_references(tree: Node) -> Iterator[Problem]:
    for path, node in tree.scalars():
        if path[:1] != ("env",) and isinstance(node.value, str) and "${env:" in node.value:
            yield node.place.problem("${env:NAME} is read in the values of env: alone; here it would stay as it stands", path)
