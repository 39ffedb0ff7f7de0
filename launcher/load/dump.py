"""A job as YAML 1.2 that loads to the same job, and that older readers do not misread."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from launcher.load.scalars import resolve
from launcher.spec import Job

LINE_WIDTH = 100
WORD = re.compile(r"[A-Za-z_/][A-Za-z0-9_./%+@=-]*( [A-Za-z0-9_./%+@=-]+)*")
PATH_WITH_COLON = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_.]*")
QUANTITY = re.compile(r"\d+(\.\d+)?( ?(steps?|epochs?)|[%smhdKMGT])|(\d+[dhms]){2,4}")
OLD_BOOLEANS = frozenset({"y", "n", "yes", "no", "on", "off"})
"""YAML 1.1 reads them as true and false, in any case."""
ESCAPED = re.compile("[\x7f-\xa0\u2028\u2029\ufeff\ufffe\uffff]")


def as_yaml(job: Job) -> str:
    """Everything resolved, `name` first; what is empty by default is left out."""
    return "".join(f"{line}\n" for line in block(given(job)))


def given(value: Any) -> Any:
    """Models as mappings, without fields that are None or empty by default."""
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        kept = {name: item for name, item in value if name not in fields or not empty_by_default(item, fields[name].default)}
        return {name: given(item) for name, item in kept.items()}
    if isinstance(value, Mapping):
        return {name: given(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [given(item) for item in value]
    return value


def empty_by_default(value: Any, default: Any) -> bool:
    return value == default and (value is None or value in ([], {}))


def block(mapping: Mapping[str, Any]) -> list[str]:
    lines: list[str] = []
    for key, value in mapping.items():
        lines += entry(f"{scalar(key)}:", value)
    return lines


def entry(head: str, value: Any) -> list[str]:
    """`head` with its value behind it, or indented below it."""
    if isinstance(value, dict) and value:
        return [head, *indented(block(value))]
    if isinstance(value, list) and value:
        line = f"{head} {flow(value)}"
        if len(line) <= LINE_WIDTH and not any(isinstance(item, dict | list) for item in value):
            return [line]
        return [head, *(line for item in value for line in listed(item))]
    return [f"{head} {scalar(value)}"]


def listed(item: Any) -> list[str]:
    if isinstance(item, dict) and item:
        first, *rest = block(item)
        return [f"  - {first}", *indented(rest, "    ")]
    return [f"  - {flow(item) if isinstance(item, list) else scalar(item)}"]


def indented(lines: list[str], by: str = "  ") -> list[str]:
    return [by + line for line in lines]


def flow(value: Any) -> str:
    if isinstance(value, dict) and value:
        return "{" + ", ".join(f"{scalar(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    return scalar(value) if not isinstance(value, str) or ":" not in value else quoted(value)


def scalar(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return str(value) if reads_as_text(value) else quoted(value)
        case float():
            return real(value)
    return "{}" if value == {} else "[]" if value == [] else str(value)


def real(value: float) -> str:
    """With a point in front of an exponent: YAML 1.1 takes `1e-05` for text."""
    text = repr(value)
    if text in ("inf", "-inf", "nan"):
        return text.replace("inf", ".inf").replace("nan", ".nan")
    return text.replace("e", ".0e") if "e" in text and "." not in text else text


def reads_as_text(text: str) -> bool:
    plain = WORD.fullmatch(text) or PATH_WITH_COLON.fullmatch(text) or QUANTITY.fullmatch(text)
    return bool(plain) and isinstance(resolve(text), str) and text.lower() not in OLD_BOOLEANS


def quoted(text: str) -> str:
    return ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(str(text), ensure_ascii=False))
