"""The restart ladder: of the ways back to enough nodes the cheapest, in one function that a reader can check."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from launcher.plan import Node


@dataclass(frozen=True, kw_only=True)
class Muster:
    members: tuple[Node, ...] = ()
    """In the order of their ranks; none where another job goes on."""
    start: tuple[Node, ...] = ()
    """Members whose agent has to be started first."""
    reason: str | None = None
    """In words; None where it is the same nodes with the same agents."""
    forgiven: bool = False
    """Whether suspects take part after all, since there is nobody else."""


def muster(
    nodes: Sequence[Node],
    before: Sequence[Node],
    *,
    alive: Collection[int],
    suspect: Mapping[int, str],
    fewest: int,
    successor: bool = False,
) -> Muster:
    """`nodes`: all that the run has. `before`: who took part last. `alive`: whose agents are there.

    `suspect`: nodes that are not to be tried again, with the reason. `successor`: whether another job can go on.
    """
    ended = [node for node in before if node.index not in alive and node.index not in suspect]
    missing = [node for node in before if node.index in suspect]
    # 1 and 2: the same nodes, with a new agent where the old one has ended.
    if not missing:
        if not ended:
            return Muster(members=tuple(before))
        return Muster(members=tuple(before), start=tuple(ended), reason=f"with a new agent on {named(ended)}")
    # 3: a spare in the place of each, or fewer.
    taking_part = {node.index for node in before}
    idle = [node for node in nodes if node.index not in taking_part and node.index not in suspect]
    spares = dict(zip((node.index for node in missing), idle, strict=False))
    members = tuple(spares.get(node.index, node) for node in before if node.index not in suspect or node.index in spares)
    start = tuple(node for node in members if node.index not in alive)
    if len(members) == len(before):
        taken = ", ".join(f"{spares[node.index].host} takes the place of {node.host}" for node in missing)
        return Muster(members=members, start=start, reason=f"{taken} ({'; '.join(suspect[node.index] for node in missing)})")
    if len(members) >= fewest:
        return Muster(
            members=members, start=start, reason=f"with {len(members)} of {len(before)} nodes: without {named(missing)}"
        )
    # 4: a successor job on other nodes.
    if successor:
        return Muster(reason=f"in another job, without {named(missing)}")
    again = tuple(node for node in before if node.index not in alive)
    return Muster(
        members=tuple(before), start=again, reason=f"and there is no other node: {named(missing)} is tried again", forgiven=True
    )


def named(nodes: Sequence[Node]) -> str:
    return ", ".join(f"node {node.index} ({node.host})" for node in nodes)
