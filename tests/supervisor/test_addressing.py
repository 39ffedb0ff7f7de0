"""A message to many agents: each is named once, whole lines only, and an order that all share is not said to each."""

from __future__ import annotations

import json

import pytest

from launcher.protocol import MAX_BYTES, ToAgent, decode, encode, own_part
from launcher.supervisor.addressing import divided


def start(agents: list[int], run_dir: str = "/runs/r") -> ToAgent:
    ranks = [8 * place for place in range(len(agents))]
    return {"kind": "start", "to": agents, "base_ranks": ranks, "run_dir": run_dir, "attempt": 1, "nodes": len(agents),
            "local_world_size": 8, "world_size": 8 * len(agents), "store_host": "n1", "store_port": 29500, "restarts": 0,
            "max_restarts": 3}  # fmt: skip


@pytest.mark.parametrize("folder", ["/runs/r", "/" + "r" * 500])
def test_every_agent_finds_its_own_ranks(folder: str) -> None:
    agents = [9_999, *range(9_000, 0, -1)]
    lines = [(carrier, encode(each)) for carrier, each in divided(start(agents, folder), {"a": agents[1:], "b": agents[:1]})]
    assert max(len(line) for _, line in lines) <= MAX_BYTES
    heard = [(carrier, agent, own_part(decode(line), agent)) for carrier, line in lines for agent in decode(line)["to"]]
    assert [(carrier, agent) for carrier, agent, _ in heard] == [*(("a", agent) for agent in agents[1:]), ("b", 9_999)]
    assert all((own["base_rank"], own["group_rank"]) == (8 * agents.index(agent), agents.index(agent))
               for _, agent, own in heard[::97])  # fmt: skip


def test_ten_thousand_agents_read_little_of_each_other() -> None:
    agents = list(range(10_000))
    whole: list[ToAgent] = [start(agents), {"kind": "ping", "to": agents}]
    read = {message["kind"]: sum(len(encode(each)) for _, each in divided(message, {0: agents})) for message in whole}
    assert read["start"] < 300_000
    assert read["ping"] < 1.1 * len(json.dumps(agents, separators=(",", ":")))
