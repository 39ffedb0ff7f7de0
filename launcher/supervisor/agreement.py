"""Whether all nodes are alike in what must be alike, before any rank is started; if not, which is the odd one out. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

WAIT_S = 10.0
"""For facts: reading the code may take a while. A node that says nothing then is not asked again."""
SAME = {
    "launcher": "launcher {}",
    "python": "Python {}",
    "torch": "torch {}",
    "job": "a job.yaml of checksum {}",
    "code": "code of checksum {}",
}
"""What is compared, and how it is called."""
REMEDY = {
    "job": "its file system shows an old job.yaml: see how the run directory is mounted there",
    "code": "its copy of the code is another one: put the code on a shared file system, or leave resources.snapshot true",
}
INSTALL = "install the same there, or leave the node out"


@dataclass(frozen=True, kw_only=True)
class Odd:
    node: int
    message: str


def odd_one_out(
    facts: Mapping[int, Mapping[str, Any]], hosts: Mapping[int, str], *, ranks: int, threads: int, cuda: bool
) -> Odd | None:
    """`facts`: by node. `ranks` and `threads`: of each node. What a node does not know is compared with nothing.

    Of two that differ it is the later one, since nothing tells which of them is right.
    """
    for name, words in SAME.items():
        told = {node: each[name] for node, each in sorted(facts.items()) if each.get(name) is not None}
        if (odd := unlike(told)) is not None:
            others = told[next(node for node in told if told[node] != told[odd])]
            message = f"{words.format(told[odd])} on {hosts[odd]}, {words.format(others)} on the other nodes"
            return Odd(node=odd, message=f"{message}: {REMEDY.get(name, INSTALL)}")
    wanted = [("cpus", ranks * threads, "CPU"), *([("gpus", ranks, "GPU")] if cuda else [])]
    for name, enough, noun in wanted:
        short = {node: int(each[name]) >= enough for node, each in sorted(facts.items()) if each.get(name) is not None}
        odd = next((node for node, suffices in short.items() if not suffices), None)
        if odd is not None and any(short.values()):
            seen = facts[odd][name]
            return Odd(
                node=odd,
                message=f"{seen} {noun}{'' if seen == 1 else 's'} to use on {hosts[odd]}, and its {ranks} ranks want {enough}; "
                "other nodes have them. See what else runs there, and what the queue grants",
            )
    return None


def unlike(told: Mapping[int, Any]) -> int | None:
    """The last node of the rarest value; None where all are alike."""
    counts = Counter(told.values())
    if len(counts) < 2:
        return None
    first = next(iter(told.values()))
    rarest = min(counts, key=lambda value: (counts[value], value == first))
    return max(node for node, value in told.items() if value == rarest)
