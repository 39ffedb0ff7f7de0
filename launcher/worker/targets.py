"""From a target in the job to the thing itself: found once, called with its arguments, its errors told in the job's terms."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from functools import partial, update_wrapper
from typing import Any

from launcher.errors import did_you_mean, near
from launcher.spec.catalogue import CATALOGUE, Kind
from launcher.spec.target import Target
from launcher.worker.blame import described, located, raised
from launcher.worker.errors import WorkerError

USERS_MISTAKES = (TypeError, ValueError, LookupError, AttributeError, AssertionError, NotImplementedError, FileNotFoundError)
"""What wrong arguments lead to; anything else (no space, no network) may be different next time."""


def builtin(kind: Kind, target: Target) -> bool:
    return (kind, target.target) in CATALOGUE


def found(kind: Kind, target: Target, field: str) -> Callable[..., Any]:
    """What the target names. Raises WorkerError; a user's module that fails to import is told with its own error and place."""
    entry = CATALOGUE.get((kind, target.target))
    path = entry.builds if entry else target.target
    module_name, attributes = split(path)
    thing: Any = imported(module_name, field)
    for attribute in attributes.split("."):
        if not hasattr(thing, attribute):
            raise WorkerError(
                f"{field}: {module_name} has no '{attribute}'.{did_you_mean(near(attribute, dir(thing)))}", kind="spec"
            )
        thing = getattr(thing, attribute)
    # One builder may serve several entries, and then asks which.
    if entry and "name" in inspect.signature(thing).parameters and "name" not in entry.arguments:
        return partial(thing, name=target.target)
    return thing  # type: ignore[no-any-return]


def split(path: str) -> tuple[str, str]:
    """`pkg.mod:Net` and `pkg.mod.Net` alike: module and attribute."""
    module_name, _, attributes = path.partition(":") if ":" in path else path.rpartition(".")
    return module_name, attributes


def imported(module_name: str, field: str) -> Any:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise broken(module_name, field, error) from error
        raise WorkerError(
            f"{field}: there is no module '{error.name}'. It is looked for in workdir (the folder where launch was called) "
            "and among the installed packages",
            kind="spec",
        ) from None
    except Exception as error:
        raise broken(module_name, field, error) from error


def broken(module_name: str, field: str, error: Exception) -> WorkerError:
    details = located(error)
    if isinstance(error, SyntaxError) and error.filename:
        details = {"where": f"{error.filename}:{error.lineno}"}
    return WorkerError(f"{field}: {module_name} does not import: {described(error)}", kind="spec", details=details)


def built(kind: Kind, target: Target, field: str, *before: Any, **more: Any) -> Any:
    """The target called with `before`, `more` and its arguments."""
    return call(found(kind, target, field), target, field, *before, **more, **target.arguments)


def call(thing: Callable[..., Any], target: Target, field: str, *before: Any, **given: Any) -> Any:
    """Raises WorkerError where the arguments do not suit it."""
    try:
        return thing(*before, **given)
    except USERS_MISTAKES as error:
        raise raised(error, f"{field} ({target.target}){takes(thing, error)}", kind="spec") from error


def takes(thing: Callable[..., Any], error: Exception) -> str:
    """The names of the arguments, where it was called with others."""
    if not isinstance(error, TypeError) or not re.search(r"argument", str(error)):
        return ""
    try:
        names = [name for name in inspect.signature(thing).parameters if name != "self"]
    except (TypeError, ValueError):
        return ""
    return f" takes {', '.join(names) or 'no arguments'}"


def constructed_or_bound(kind: Kind, target: Target, field: str) -> Callable[..., Any]:
    """A class is constructed, a function bound with the arguments."""
    thing = found(kind, target, field)
    if isinstance(thing, type) or builtin(kind, target):
        return call(thing, target, field, **target.arguments)  # type: ignore[no-any-return]
    if not callable(thing):
        raise WorkerError(f"{field}: {target.target} is a {type(thing).__name__}, which cannot be called", kind="spec")
    # With what is attached to it, such as a loss's weight.
    return update_wrapper(partial(thing, **target.arguments), thing) if target.arguments else thing
