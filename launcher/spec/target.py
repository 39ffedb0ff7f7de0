"""A target: something that the worker builds, named from the catalogue or by import path, with its keyword arguments."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import PydanticCustomError, core_schema

from launcher.spec.catalogue import CATALOGUE, Entry, Kind, names

IMPORT_PATH = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*([.:][A-Za-z_]\w*)(\.[A-Za-z_]\w*)*"


class Target(BaseModel):
    """`{target: NAME or pkg.mod:thing, ...keyword arguments}`, or NAME alone."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)
    target: str

    @property
    def arguments(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


@dataclass(frozen=True)
class Of:
    """Annotates a field with the kind of target that it takes, and with what else may stand beside the arguments."""

    kind: Kind
    beside: type[BaseModel] | None = None

    def check(self, value: object) -> object:
        """Raises ValidationError, located inside the target, where a catalogue entry does not take the arguments."""
        value = {"target": value} if isinstance(value, str) else value
        if not isinstance(value, dict) or not isinstance(value.get("target"), str):
            return value
        name = value["target"]
        entry = CATALOGUE.get((self.kind, name))
        if entry is None and not re.fullmatch(IMPORT_PATH, name):
            raise unknown(self.kind, name)
        if entry is not None:
            own = set(self.beside.model_fields) if self.beside else set()
            entry.model.model_validate({key: item for key, item in value.items() if key != "target" and key not in own})
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_before_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        known = [entry for (kind, _), entry in CATALOGUE.items() if kind == self.kind]
        bare = [entry.name for entry in known if all(default is not ... for _, default in entry.arguments.values())]
        free = {"type": "object", "properties": {"target": {"type": "string", "pattern": f"^{IMPORT_PATH}$"}}, "required": ["target"]}
        return {"anyOf": [{"enum": bare}, *(described(entry) for entry in known), free, {"type": "string", "pattern": f"^{IMPORT_PATH}$"}]}


def described(entry: Entry) -> dict[str, Any]:
    """A catalogue entry as JSON Schema."""
    schema = entry.model.model_json_schema()
    schema["properties"] = {"target": {"const": entry.name, "description": entry.doc}, **schema.get("properties", {})}
    schema["required"] = ["target", *schema.get("required", [])]
    return schema


def unknown(kind: Kind, name: str) -> PydanticCustomError:
    near = difflib.get_close_matches(name, names(kind), n=1)
    guess = f"Did you mean '{near[0]}'? " if near else ""
    return PydanticCustomError(
        "unknown_target",
        "{message}",
        {"message": f"no {kind} is called '{name}'. {guess}Built in: {', '.join(names(kind))}; or an import path such as my_pkg.mod:thing"},
    )
