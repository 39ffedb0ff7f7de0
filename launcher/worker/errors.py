"""What can go wrong in a rank for a reason that is not a bug in the user's code."""

from __future__ import annotations

from typing import Any, Literal

Kind = Literal["spec", "environment", "nan", "oom", "error"]


class WorkerError(Exception):
    """Ends the rank with a sentence. `kind` tells the supervisor what to do about it; `details` goes into failure.json."""

    def __init__(self, message: str, *, kind: Kind, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.details = details or {}

    def __reduce__(self) -> tuple[Any, ...]:
        # An exception's own way would lose what is not positional: it comes from loader processes too.
        return rebuilt, (str(self), self.kind, self.details)


def rebuilt(message: str, kind: Kind, details: dict[str, Any]) -> WorkerError:
    return WorkerError(message, kind=kind, details=details)
