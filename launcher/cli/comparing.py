"""What differs between two runs, as data and as text."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from launcher.load import differences, load_job
from launcher.rundir import RunDir, read_json

Change = dict[str, Any]
DIFF_LINES = 200
NOT_KNOWN = {"code": "not known (no git repository)", "environment": "not known (no provenance.json)"}
TITLES = {"spec": "job", "code": "code", "environment": "environment"}


def compared(a: RunDir, b: RunDir) -> dict[str, list[Change] | None]:
    """Section -> what differs: `what`, `a` and `b` of each, for code the `lines` of a diff as well; None where it is not known.

    Raises SpecError where a job.yaml cannot be read.
    """
    spec = [change(path, old, new) for path, old, new in differences(load_job(a.job), load_job(b.job))]
    one, other = read_json(a.provenance) or {}, read_json(b.provenance) or {}
    return {
        "spec": spec,
        "code": list(code(a, b, one, other)) if one.get("git") or other.get("git") else None,
        "environment": list(environment(one, other)) if one and other else None,
    }


def change(what: str, a: Any, b: Any) -> Change:
    return {"what": what, "a": a, "b": b}


def code(a: RunDir, b: RunDir, one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[Change]:
    first, second = one.get("git") or {}, other.get("git") or {}
    yield from differing(first, second, ("commit", "untracked"))
    old, new = uncommitted(a), uncommitted(b)
    if old != new:
        lines = list(difflib.unified_diff(old, new, "uncommitted changes of a", "uncommitted changes of b", lineterm=""))
        yield {**change("uncommitted", f"{len(old)} lines", f"{len(new)} lines"), "lines": lines[:DIFF_LINES]}


def uncommitted(run: RunDir) -> list[str]:
    return run.diff.read_text(errors="replace").splitlines() if run.diff.exists() else []


def environment(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[Change]:
    yield from differing(one, other, ("python",))
    first, second = one.get("host") or {}, other.get("host") or {}
    yield from differing(first, second, sorted({*first, *second}))
    before, after = one.get("packages") or {}, other.get("packages") or {}
    yield from differing(before, after, sorted({*before, *after}))


def differing(a: Mapping[str, Any], b: Mapping[str, Any], names: Iterable[str]) -> Iterator[Change]:
    return (change(name, a.get(name), b.get(name)) for name in names if a.get(name) != b.get(name))


def rendered(a: str, b: str, found: Mapping[str, list[Change] | None]) -> str:
    lines = [f"a  {a}", f"b  {b}"]
    for section, changes in found.items():
        if not changes:
            lines += ["", f"{TITLES[section]}: {NOT_KNOWN[section] if changes is None else 'no difference'}"]
            continue
        lines += ["", f"{TITLES[section]}:"]
        lines += [f"  {each['what']}: {shown(each['a'])} -> {shown(each['b'])}" for each in changes]
        lines += [f"    {line}" for each in changes for line in each.get("lines", ())]
    return "\n".join(lines)


def shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
