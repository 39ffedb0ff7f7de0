"""What a catalogue entry says of a built-in target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, create_model

from launcher.spec.base import Frozen

Kind = Literal[
    "model", "loss", "optimizer", "schedule", "data", "augment", "metric", "collate", "init", "layer", "sampling", "smote"
]

REQUIRED: Any = ...


@dataclass(frozen=True)
class Entry:
    kind: Kind
    name: str
    builds: str
    """`module:attribute`, imported in the worker alone."""
    doc: str
    arguments: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    """name -> (type, default); `REQUIRED` where there is none."""
    needs: tuple[str, ...] = ()
    """Modules that building it imports: what a fork server loads beforehand."""
    samples: Callable[[Mapping[str, Any]], int] | None = None
    """A data set's length from its arguments, where it is known without loading it."""

    @cached_property
    def model(self) -> type[BaseModel]:
        """A model that checks the arguments. Built when first used: a job names few entries."""
        fields: dict[str, Any] = dict(self.arguments)
        return create_model(self.name, __base__=Frozen, **fields)


Arguments = Mapping[str, tuple[Any, Any]]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
