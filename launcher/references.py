"""`${env:NAME}` in a value of `env:`: read where a rank starts, and stored nowhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from launcher.errors import BackendError

VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"
REFERENCE = re.compile(r"\$\{env:(" + VARIABLE + r")\}")


def referred(texts: Iterable[str]) -> set[str]:
    """Names of the variables that the texts refer to."""
    return {name for text in texts for name in REFERENCE.findall(text)}


def filled(name: str, text: str, known: Mapping[str, str]) -> str:
    """The value of `env.NAME` with what is known in place of its references. Raises BackendError where one is not known."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in known:
            raise BackendError(
                f"env.{name} refers to ${{env:{match[1]}}}, which is not set on this node. Export {match[1]} before launch"
            )
        return known[match[1]]

    return REFERENCE.sub(value, text)
