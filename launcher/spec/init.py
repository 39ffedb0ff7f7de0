"""Initial values: one target for all, or a mapping of patterns to targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Discriminator, Field, Tag

from launcher.spec.base import Said
from launcher.spec.target import Of, Target


def form(value: object) -> str:
    return "by pattern" if isinstance(value, Mapping) and "target" not in value else "of all"


InitTarget = Annotated[Target, Of("init")]
Init = Annotated[
    Annotated[Target, Of("init", named=True), Tag("of all")]
    | Annotated[
        dict[str, InitTarget],
        Tag("by pattern"),
        Said("a mapping of patterns of parameter names to such"),
        Field(json_schema_extra={"propertyNames": {"not": {"const": "target"}}}),
    ],
    Discriminator(form),
]
