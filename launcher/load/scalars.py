"""YAML 1.2's core scalars: `1e-3` is a number, `no` is a string, `08:00:00` is text, `0644` is 644."""

from __future__ import annotations

import re

Scalar = str | int | float | bool | None

NULL = frozenset({"", "~", "null", "Null", "NULL"})
BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
SPECIAL_FLOAT = re.compile(r"([-+]?)\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
LONGEST_NUMBER = 100
"""Characters. Python refuses to read integers above 4,300 digits, and nothing here needs them."""


def resolve(text: str) -> Scalar:
    """What a plain (unquoted) scalar means."""
    if text in NULL:
        return None
    if text in BOOLEANS:
        return BOOLEANS[text]
    if text[0] in "+-.0123456789" and len(text) <= LONGEST_NUMBER:
        return number(text)
    return text


def number(text: str) -> str | int | float:
    if INTEGER.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if FLOAT.fullmatch(text):
        return float(text)
    if SPECIAL_FLOAT.fullmatch(text):
        return float(text.replace(".", "").lower())
    return text
