"""The JSON Schema of job files, from which editors complete and check."""

from __future__ import annotations

from typing import Any

from launcher.spec.catalogue import REQUIRED
from launcher.spec.docs import EXTENDS, derived
from launcher.spec.docstrings import doc_of
from launcher.spec.fields import ROOT, Spot
from launcher.spec.job import Job

DIALECT = "https://json-schema.org/draft/2020-12/schema"
SHORT_FORMS: dict[tuple[str, str], dict[str, Any]] = {
    ("Log", "wandb"): {"type": "boolean"},
    ("Data", "smote"): {"type": "boolean"},
    ("Checkpoint", "keep_best"): {"type": "string"},
}
"""(model, field) -> what may be written in place of the mapping."""


def json_schema() -> dict[str, Any]:
    """Of a job file as it is written: `extends` allowed, and then nothing required, for the base may have it."""
    schema = Job.model_json_schema()
    definitions = schema.pop("$defs")
    for name, definition in [("Job", schema), *definitions.items()]:
        definition.pop("required", None)
        shorten(name, definition)
    describe(schema, definitions)
    for section in ("env", "environment", "resources", "checkpoint", "log", "retry"):
        schema["properties"][section] = or_null(schema["properties"][section])
    paths = [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]
    schema["properties"]["extends"] = {"description": EXTENDS.doc, "anyOf": paths}
    ends = {"oneOf": [{"required": ["train"]}, {"required": ["run"]}]}
    return {
        "$schema": DIALECT,
        **schema,
        "if": {"not": {"required": ["extends"]}},
        "then": demands(ROOT) | ends,
        "$defs": definitions,
    }


def or_null(schema: dict[str, Any]) -> dict[str, Any]:
    said = {key: schema[key] for key in ("description", "default") if key in schema}
    return said | {"anyOf": [{key: item for key, item in schema.items() if key not in said}, {"type": "null"}]}


def shorten(model: str, definition: dict[str, Any]) -> None:
    for name, schema in definition.get("properties", {}).items():
        if (model, name) in SHORT_FORMS:
            schema["anyOf"].append(SHORT_FORMS[model, name])


def describe(schema: dict[str, Any], definitions: dict[str, Any]) -> None:
    """The docs under the fields, in place of pydantic's titles."""
    for spot in models(ROOT):
        assert spot.model is not None
        definition = schema if spot.model is Job else definitions.get(spot.model.__name__, {})
        for name, field in spot.fields().items():
            if name in definition.get("properties", {}):
                definition["properties"][name].pop("title", None)
                definition["properties"][name]["description"] = doc_of(field)


def models(spot: Spot) -> list[Spot]:
    found = [spot] if spot.model else []
    for field in spot.fields().values():
        found += models(field)
    return found


def demands(spot: Spot) -> dict[str, Any]:
    """What must be there, all the way down, unless a base may have it."""
    if spot.of is not None:
        return {} if spot.child("NAME") else {"required": ["target"]}
    fields = spot.fields() if spot.model else {}
    needed = [name for name, field in fields.items() if field.default is REQUIRED and not derived(field)]
    below = {name: inner for name, field in fields.items() if (inner := demands(field))}
    item = spot.child(0) if spot.model is None else None
    inside = {"items": inner} if item and (inner := demands(item)) else {}
    return ({"required": needed} if needed else {}) | ({"properties": below} if below else {}) | inside
