"""An explanation of a field, and where a job's values come from, as text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from launcher.cli.terminal import table
from launcher.load.dump import flow, scalar
from launcher.load.origins import Origin
from launcher.spec.docs import Explanation, Key


def render(explanation: Explanation) -> str:
    """As plain text, without a final newline."""
    doc = explanation.doc.replace("\n", "\n  ")
    lines = [explanation.path or "a job", f"  {doc}", "", f"  accepts   {explanation.accepts}"]
    if explanation.default is not None:
        lines.append(f"  default   {explanation.default}")
    if explanation.example:
        lines.append(f"  example   {explanation.example}")
    if explanation.own:
        lines.append(f"  your own  {{target: pkg.mod:thing, ...arguments}}: {explanation.own}")
    if explanation.keys:
        lines += ["", "Keys", *(f"  {line}" for line in keys_in_words(explanation.keys))]
    for (doc, arguments), alike in groupby(explanation.built_in, key=lambda each: (each.doc, each.arguments)):
        names = ", ".join(each.name for each in alike)
        lines += ["", f"{names}: {doc}", *(f"  {line}" for line in keys_in_words(arguments))]
    return "\n".join(lines)


def keys_in_words(keys: Sequence[Key]) -> list[str]:
    width = max((len(key.name) for key in keys), default=0)
    lines = []
    for key in keys:
        default = "must be given" if key.default is None else f"default {key.default}"
        lines.append(f"{key.name:{width}}  {key.accepts}; {default}")
        lines += [" " * (width + 2) + key.doc] if key.doc else []
    return lines


def origins_in_words(origins: Sequence[Origin]) -> str:
    return "\n".join(table([(each.path, written(each.value), each.source or f"default: {each.why}") for each in origins]))


def written(value: Any) -> str:
    return flow(value) if isinstance(value, list) else scalar(value)
