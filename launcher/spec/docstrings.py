"""A field's doc is the string under it in the source, read when somebody asks: nothing of this costs a start."""

from __future__ import annotations

import ast
import inspect
import sys
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from launcher.spec.base import About
from launcher.spec.fields import Spot


def doc_of(spot: Spot) -> str:
    if spot.owner is not None:
        return field_docs(spot.owner).get(spot.name, "")
    if (told := about(spot)) is not None:
        return told.words
    return inspect.cleandoc(spot.model.__doc__ or "") if spot.model else ""


def about(spot: Spot) -> About | None:
    """What an argument's type says of it."""
    return next((note for _, notes in spot.branches for note in notes if isinstance(note, About)), None)


@cache
def field_docs(model: type[BaseModel]) -> dict[str, str]:
    """The strings under a model's fields, those of its bases included."""
    docs: dict[str, str] = {}
    for owner in reversed(model.__mro__):
        if issubclass(owner, BaseModel) and owner is not BaseModel:
            docs |= strings_under_fields(owner)
    return docs


def strings_under_fields(model: type[Any]) -> dict[str, str]:
    file = sys.modules[model.__module__].__file__
    body = class_bodies(Path(str(file))).get(model.__name__, [])
    return {
        field.target.id: inspect.cleandoc(doc.value.value)
        for field, doc in pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(doc, ast.Expr) and isinstance(doc.value, ast.Constant) and isinstance(doc.value.value, str)
    }


@cache
def class_bodies(file: Path) -> dict[str, list[ast.stmt]]:
    tree = ast.parse(file.read_text())
    return {node.name: node.body for node in tree.body if isinstance(node, ast.ClassDef)}
