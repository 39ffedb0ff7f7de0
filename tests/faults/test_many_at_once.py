"""Launches of one moment never share a port, a store or a run directory."""

from __future__ import annotations

import pytest

from tests.faults.conftest import Bench

SCRIPT = """
import sys
import torch, torch.distributed as dist
dist.init_process_group("gloo")
mine = torch.tensor([float(sys.argv[1])])
for _ in range(20):
    total = mine.clone()
    dist.all_reduce(total)
    assert total.item() == 2 * mine.item(), "ranks of another launch took part"
if dist.get_rank() == 0:
    print("sum", total.item(), flush=True)
dist.destroy_process_group()
"""


def all_at_once(bench: Bench, launches: int) -> None:
    (bench.folder / "train.py").write_text(SCRIPT)
    resources = {"nodes": 2, "procs_per_node": 1, "device": "cpu"}
    same = {"name": "same", "resources": resources, "retry": {"lost_after": "60s"}}  # they hold each other up
    specs = [bench.spec({**same, "run": {"script": "train.py", "args": [number]}}, f"job-{number}") for number in range(launches)]
    processes = [bench.launch(str(spec)) for spec in specs]
    assert [bench.wait(process) for process in processes] == [0] * launches, bench.screen()
    runs = list((bench.folder / "runs").iterdir())
    assert len(runs) == launches
    sums = sorted((run / "logs/attempt-1/rank-0.log").read_text() for run in runs)
    assert sums == sorted(f"sum {2.0 * number}\n" for number in range(launches))


def test_launches_of_one_moment_keep_apart(bench: Bench) -> None:
    all_at_once(bench, 3)


@pytest.mark.long
def test_as_many_as_the_machine_bears(bench: Bench) -> None:
    all_at_once(bench, 24)
