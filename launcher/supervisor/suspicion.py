"""Whether a failure is a node's fault rather than the job's: only one host's ranks fail, at once, and the others are well."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from launcher.supervisor.cause import UNSHARED, Failure

QUICK_S = 30.0
"""Ranks that die so soon, before any step, may have died of their node: a black hole takes job after job."""


@dataclass(frozen=True, kw_only=True)
class Suspicion:
    node: int
    what: str
    """In words."""
    weight: float
    """For other runs: 1 where the node alone can be to blame, 0.5 where it takes two, 0 where the run directory lies wrong."""


def suspicion(
    failure: Failure, *, age_s: float, failed_on: Collection[int], nodes: int, again: bool, silent: bool
) -> Suspicion | None:
    """`failed_on`: nodes with a rank that failed by itself. `nodes`: how many hosts took part. `again`: the same node failed
    the attempt before too. `silent`: its agent was lost without a word.
    """
    if failure.node is None:
        return None
    if silent:
        return Suspicion(node=failure.node, what=failure.message or "its agent was lost", weight=1.0)
    if failure.kind == "agent":
        return Suspicion(node=failure.node, what="its agent died twice in a row", weight=0.5) if again else None
    if nodes < 2 or set(failed_on) - {failure.node} or failure.kind in ("spec", "oom", "nan", "hang"):
        return None
    if failure.kind == "environment":
        weight = 0.0 if (failure.details or {}).get(UNSHARED) else 1.0
        return Suspicion(node=failure.node, what=f"{failure.what()}, and the other nodes are well", weight=weight)
    if failure.pulses or age_s > QUICK_S:
        return None
    return Suspicion(node=failure.node, what="its ranks died at once, and the other nodes' did not", weight=0.5)
