"""A target: something that the worker builds, named from the catalogue or by import path, with its keyword arguments."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError, core_schema

from launcher.spec.base import details, validate_all

if TYPE_CHECKING:
    from launcher.spec.catalogue.entry import Entry, Kind

IMPORT_PATH = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*([.:][A-Za-z_]\w*)(\.[A-Za-z_]\w*)*"
LONGEST_NAME = 200
"""Characters; the pattern's matching time grows with their square."""
NOUNS: Mapping[str, str] = {"data": "data set", "augment": "augmentation"}
"""Kinds that are called otherwise in a sentence."""


class Target(BaseModel):
    """`{target: NAME or pkg.mod:thing, ...keyword arguments}`, or NAME alone."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, allow_inf_nan=False, defer_build=True)
    target: str
    """A short name from the catalogue, or an import path such as `my_pkg.models:Net`."""

    @property
    def arguments(self) -> dict[str, Any]:
        """What it is called with: for a built-in target every argument whose default is not None."""
        return dict(self.model_extra or {})


@dataclass(frozen=True)
class Of:
    """Annotates a field with the kind of target that it takes, and with what else may stand beside the arguments."""

    kind: Kind
    beside: type[BaseModel] | None = None
    named: bool = False
    """Whether a mapping without `target` is something else, and not one whose base may have it."""

    def check(self, value: Any, validate: Callable[[Any], Any]) -> Any:
        """Raises ValidationError, located inside the target, where a catalogue entry does not take the arguments."""
        value = {"target": value} if isinstance(value, str) else value
        if not isinstance(value, dict) or not isinstance(value.get("target"), str):
            return validate(value)
        entry = catalogue().get((self.kind, value["target"]))
        if entry is None:
            return validate_all("Target", value, validate, self.not_importable(value["target"]))
        arguments = {key: item for key, item in value.items() if key not in self.own}
        try:
            taken = entry.model.model_validate(arguments)
        except ValidationError as error:
            return validate_all("Target", value, validate, details(error))
        filled = {name: item for name, item in taken if item is not None}
        return validate({key: item for key, item in value.items() if key in self.own} | in_order(filled, arguments))

    @property
    def own(self) -> set[str]:
        """Keys that are not arguments."""
        return {"target", *(self.beside.model_fields if self.beside else ())}

    def not_importable(self, name: str) -> Iterator[InitErrorDetails]:
        if len(name) > LONGEST_NAME or not re.fullmatch(IMPORT_PATH, name):
            yield {"type": unknown(self.kind, name), "loc": ("target",), "input": name}

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_wrap_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        beside = handler.resolve_ref_schema(handler(schema)).get("properties", {})
        known = [entry for (kind, _), entry in catalogue().items() if kind == self.kind]
        bare = [entry.name for entry in known if all(default is not ... for _, default in entry.arguments.values())]
        path = {"type": "string", "pattern": f"^{IMPORT_PATH}$"}
        free = {"type": "object", "properties": beside | {"target": path}} | ({"required": ["target"]} if self.named else {})
        alike = [list(group) for _, group in groupby(known, key=lambda entry: (entry.doc, entry.arguments))]
        return {"anyOf": [{"enum": bare}, path, *(described(group, beside) for group in alike), free]}


def catalogue() -> Mapping[tuple[Kind, str], Entry]:
    """Imported when asked: arguments in it are targets themselves."""
    from launcher.spec.catalogue import CATALOGUE

    return CATALOGUE


def in_order(filled: dict[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """Those that were given first, as they were given."""
    return {name: filled[name] for name in arguments if name in filled} | filled


def described(alike: list[Entry], beside: dict[str, Any]) -> dict[str, Any]:
    """Catalogue entries with the same arguments as JSON Schema."""
    schema = alike[0].model.model_json_schema()
    named = {"target": {"enum": [entry.name for entry in alike], "description": alike[0].doc}}
    return schema | {"properties": beside | schema.get("properties", {}) | named}


def unknown(kind: Kind, name: str) -> PydanticCustomError:
    message = f"no {noun(kind)} is called '{name}'"
    known = [name for of_kind, name in catalogue() if of_kind == kind]
    return PydanticCustomError("unknown_target", "{message}", {"message": message, "noun": noun(kind), "known": known})


def noun(kind: Kind) -> str:
    return NOUNS.get(kind, kind)
