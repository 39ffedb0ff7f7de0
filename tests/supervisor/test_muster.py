"""Who takes part in the next attempt, from the cheapest way to the dearest."""

from __future__ import annotations

from typing import Any

import pytest

from launcher.plan import Node
from launcher.supervisor.cause import UNSHARED, Failure
from launcher.supervisor.muster import muster
from launcher.supervisor.suspicion import suspicion

NODES = [Node(index=index, host=f"h{index}", address="", argv=(), env={}, cpus=None, local_world_size=1) for index in range(4)]


@pytest.mark.parametrize(
    ("alive", "suspect", "given", "members", "start", "words"),
    [
        ([0, 1, 2], [], {}, [0, 1], [], None),
        ([0, 2], [], {}, [0, 1], [1], "a new agent on node 1 (h1)"),
        ([0, 2], [1], {}, [0, 2], [], "h2 takes the place of h1"),
        ([0], [1], {}, [0, 2], [2], "h2 takes the place of h1"),
        ([2, 3], [0, 1], {}, [2, 3], [], "h2 takes the place of h0, h3 takes the place of h1"),
        ([0], [1, 2, 3], {"fewest": 1}, [0], [], "with 1 of 2 nodes: without node 1 (h1)"),
        ([0], [1, 2, 3], {"successor": True}, [], [], "in another job, without node 1 (h1)"),
        ([0], [1, 2, 3], {}, [0, 1], [1], "there is no other node: node 1 (h1) is tried again"),
    ],
)
def test_the_cheapest_way_back(alive: Any, suspect: Any, given: Any, members: Any, start: Any, words: str | None) -> None:
    found = muster(NODES, NODES[:2], alive=alive, suspect=dict.fromkeys(suspect, "silent"), **{"fewest": 2, **given})
    assert [node.index for node in found.members] == members
    assert [node.index for node in found.start] == start
    assert (words or "") in (found.reason or "")
    assert bool(words) == bool(found.reason)


def failure(kind: Any, **parts: Any) -> Failure:
    return Failure(**{"attempt": 1, "node": 1, "host": "h1", "kind": kind, **parts})


EXIT = failure("exit", rank=1, exit_code=9)


@pytest.mark.parametrize(
    ("what", "given", "weight"),
    [
        (EXIT, {}, 0.5),
        (EXIT, {"failed_on": {0, 1}}, None),
        (EXIT, {"nodes": 1}, None),
        (EXIT, {"age_s": 60.0}, None),
        (failure("error", rank=1, pulses=3), {}, None),
        (failure("signal", rank=1, signal="SIGKILL"), {}, 0.5),
        (failure("environment"), {"failed_on": set()}, 1.0),
        (failure("environment", details={UNSHARED: True}), {"failed_on": set()}, 0.0),
        (failure("environment"), {"failed_on": {0, 1}}, None),
        (failure("agent"), {"silent": True}, 1.0),
        (failure("agent"), {}, None),
        (failure("agent"), {"again": True}, 0.5),
        (failure("spec"), {}, None),
        (failure("nan"), {}, None),
    ],
)
def test_when_a_node_is_to_blame(what: Failure, given: dict[str, Any], weight: float | None) -> None:
    found = suspicion(what, **{"age_s": 2.0, "failed_on": {1}, "nodes": 2, "again": False, "silent": False, **given})
    assert (found.weight if found else None) == weight
