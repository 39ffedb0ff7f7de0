"""An agent's first orders: what it cannot inherit, then to import what the job uses.

Values of ${env:NAME} travel over the agent's stdin alone, to nodes that do not inherit this process's environment.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Mapping, Sequence

from launcher.plan import Node, Plan
from launcher.protocol import Handed, ToAgent
from launcher.references import referred
from launcher.rundir import RunDir, write_json
from launcher.supervisor.pool import SILENCE

MARK = os.urandom(8).hex()
"""This supervisor's: an older one's stands in copies of a run directory as well."""
PART_BYTES = 480
"""Of a value, in one message: as base64 a third more, and there is room for a long name."""


def first_orders(run: RunDir, plan: Plan, nodes: Sequence[Node], own: Mapping[str, str]) -> Iterator[ToAgent]:
    """`own`: the supervisor's environment. Marks the run directory, so that an agent can tell whether it sees this very one."""
    write_json(run.mark, MARK)
    for node in nodes:
        yield from handed(plan, node, own)
    yield {"kind": "warm", "to": [node.index for node in nodes], "run_dir": str(run.path),
           "silence_s": SILENCE * plan.lost_after_s, "mark": MARK, "code": plan.backend != "local"}  # fmt: skip


def handed(plan: Plan, node: Node, own: Mapping[str, str]) -> Iterator[Handed]:
    """Nothing where the node inherits it. What is set on the node itself goes before what is handed to it."""
    if plan.backend != "hosts":
        return
    texts = [*plan.env.values(), *node.env.values()]
    for name in sorted(referred(texts) & set(own)):
        value = os.fsencode(own[name])
        parts = [value[start : start + PART_BYTES] for start in range(0, len(value), PART_BYTES)] or [b""]
        for number, part in enumerate(parts):
            text = base64.b64encode(part).decode()
            yield {"kind": "environment", "to": [node.index], "name": name, "first": number == 0, "part": text}
