"""Two agents, one job: ranks of both meet in the store of the first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.agent.conftest import Job
from tests.agent.pipes import TORCH, Supervisor

SCRIPT = """
import os, torch, torch.distributed as dist
dist.init_process_group("gloo")
x = torch.ones(1)
dist.all_reduce(x)
names = "RANK LOCAL_RANK GROUP_RANK LOCAL_WORLD_SIZE WORLD_SIZE GROUP_WORLD_SIZE".split()
print(int(x), *(os.environ[name] for name in names))
"""


def share(job: Job, engine: str) -> list[Supervisor]:
    """Two agents of one run directory."""
    first, second = job(SCRIPT, engine=engine, preload=TORCH), job(number=1)
    plan = json.loads(first.run.plan.read_text())
    plan["nodes"].append({**plan["nodes"][0], "index": 1})
    first.run.plan.write_text(json.dumps(plan))
    second.run = first.run
    for agent in (first, second):
        agent.warm()
    return [first, second]


@pytest.mark.parametrize("engine", ["launcher", pytest.param("torchrun", marks=pytest.mark.long)])
def test_ranks_of_two_agents_meet(engine: str, job: Job) -> None:
    agents = share(job, engine)
    port = agents[0].store()
    for node, agent in enumerate(agents):
        agent.start(ranks=2, wait=False, nodes=2, base_rank=2 * node, world_size=4, store_port=port)
    ranks = []
    for agent in agents:
        exits = agent.hear("exited", count=2)
        agent.hear("swept")
        assert [each["code"] for each in exits] == [0, 0]
        ranks += [(each["rank"], each["local_rank"]) for each in exits]
    assert sorted(ranks) == [(0, 0), (1, 1), (2, 0), (3, 1)]
    told = [agents[0].log(rank) for rank in range(4)]
    assert told == [f"4 {rank} {rank % 2} {rank // 2} 2 4 2\n" for rank in range(4)]


def test_the_store_outlives_the_first_nodes_ranks(job: Job, tmp_path: Path) -> None:
    late = "import os, time, torch.distributed as dist\ntime.sleep(1 if os.environ['RANK'] == '1' else 0)\n"
    ask = "store = dist.TCPStore(os.environ['MASTER_ADDR'], int(os.environ['MASTER_PORT']), is_master=False)\nstore.add('n', 1)"
    agents = share(job, "launcher")
    (agents[0].run.path.parent / "work" / "train.py").write_text(late + ask)
    port = agents[0].store()
    for node, agent in enumerate(agents):
        agent.start(wait=False, nodes=2, base_rank=node, world_size=2, store_port=port)
    assert agents[0].codes() == [0]
    assert agents[1].codes() == [0], agents[0].log(1)
