"""Each rank on cores of its own, near its GPU: over recorded machines, and on the real one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from launcher.plan import Cluster, Machine, Node, Plan, make_plan
from launcher.spec import Job as Spec
from launcher.topology import Share, Topology, numbers, read_topology, shares
from tests.agent.conftest import Job

RECORDED = Path(__file__).parents[1] / "golden" / "topologies"
SAYS = "import os; print(sorted(os.sched_getaffinity(0)), os.environ['OMP_NUM_THREADS'], flush=True)"


def recorded(name: str) -> Topology:
    return Topology.from_json(json.loads((RECORDED / f"{name}.json").read_text()))


def span(first: int, last: int) -> Share:
    return tuple(range(first, last + 1))


@pytest.mark.parametrize(
    ("machine", "ranks", "threads", "expected"),
    [
        ("two-sockets-eight-gpus", 8, 4, [span(4 * n, 4 * n + 3) + span(4 * n + 32, 4 * n + 35) for n in range(8)]),
        ("two-sockets-eight-gpus", 2, 4, [span(0, 7) + span(32, 39), span(8, 15) + span(40, 47)]),  # both GPUs on socket 0
        ("one-socket", 2, 4, [span(0, 3), span(4, 7)]),
        ("one-socket", 3, 2, [span(0, 1), span(2, 4), span(5, 7)]),
        ("one-socket", 1, 8, [span(0, 7)]),
        ("one-socket", 9, 1, None),
        ("smt-siblings", 2, 2, [(0, 1, 4, 5), (2, 3, 6, 7)]),
        ("smt-siblings", 6, 1, [(0,), (4,), (1, 5), (2,), (6,), (3, 7)]),  # a thread each: better than no order at all
        ("cgroup-restricted", 2, 1, [(16,), (17, 18)]),
        ("cgroup-restricted", 2, 2, [(16, 17, 18), (16, 17, 18)]),
        ("gpus-far-from-the-cores", 2, 1, [(0, 1), (2, 3)]),
        ("two-cores", 4, 1, None),
        ("three-gpus-on-one-socket", 4, 2, [span(0, 1), span(2, 4), span(5, 7), span(8, 15)]),
        ("three-gpus-on-one-socket", 4, 4, [span(0, 7), span(0, 7), span(0, 7), span(8, 15)]),
    ],
)  # fmt: skip
def test_shares_of_recorded_machines(machine: str, ranks: int, threads: int, expected: list[Share] | None) -> None:
    found = shares(recorded(machine), ranks, threads=threads)
    assert (found and [set(each) for each in found]) == (expected and [set(each) for each in expected])


def test_a_machine_is_read_from_sys(tmp_path: Path) -> None:
    def write(path: str, text: str) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    for node, cpus in ((0, "0-1,4-5"), (1, "2-3,6-7")):
        write(f"sys/devices/system/node/node{node}/cpulist", f"{cpus}\n")
    for cpu in range(8):
        write(f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", f"{cpu % 4},{cpu % 4 + 4}\n")
    for bus, node in (("0000:1B:00.0", 1), ("0000:0A:00.0", 0)):
        write(f"proc/driver/nvidia/gpus/{bus}/information", f"GPU UUID: \t GPU-{bus[5:7].lower()}77\n")
        write(f"sys/bus/pci/devices/{bus.lower()}/numa_node", f"{node}\n")

    whole = read_topology(range(8), {}, tmp_path)
    assert [(core.domain, core.cpus) for core in whole.cores] == [(0, (0, 4)), (0, (1, 5)), (1, (2, 6)), (1, (3, 7))]
    assert whole.gpus == (0, 1)
    assert [core.cpus for core in read_topology((1, 2, 6), {}, tmp_path).cores] == [(1,), (2, 6)]
    assert read_topology((1,), {"CUDA_VISIBLE_DEVICES": "1,0"}, tmp_path).gpus == (1, 0)
    assert read_topology((1,), {"CUDA_VISIBLE_DEVICES": "GPU-1b77"}, tmp_path).gpus == (1,)
    assert read_topology((1,), {"CUDA_VISIBLE_DEVICES": "0", "SLURM_STEP_GPUS": "1"}, tmp_path).gpus == (1,)


def test_a_machine_that_tells_nothing_is_one_domain(tmp_path: Path) -> None:
    assert [core.cpus for core in read_topology((3, 5), {}, tmp_path).cores] == [(3,), (5,)]


def test_spans() -> None:
    assert numbers("0-2,8,10-11") == [0, 1, 2, 8, 10, 11]
    assert numbers("") == []


def planned(bind: str, ranks: int) -> Node:
    job = Spec.model_validate({"name": "j", "workdir": "/w", "run": {"script": "s.py"},
                               "resources": {"procs_per_node": ranks, "bind": bind}})  # fmt: skip
    machine = Machine(host="h", address="h", cpus=span(0, 7), topology=recorded("one-socket"))
    plan = make_plan(job, Cluster(backend="local", machines=(machine,), python="python3"))
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    return plan.nodes[0]


@pytest.mark.parametrize(
    ("bind", "ranks", "binding"),
    [("auto", 2, (span(0, 3), span(4, 7))), ("none", 2, None), ("auto", 1, None), ("auto", 40, None)],
)
def test_the_plan_says_the_cores_of_a_known_machine(bind: str, ranks: int, binding: tuple[Share, ...] | None) -> None:
    assert planned(bind, ranks).binding == binding


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
@pytest.mark.parametrize("engine", ["launcher", "torchrun"])
def test_ranks_are_on_different_cores(job: Job, engine: str) -> None:
    supervisor = job(SAYS, engine=engine)
    plan = json.loads(supervisor.run.plan.read_text())
    supervisor.run.plan.write_text(json.dumps({**plan, "bind": True}))
    supervisor.warm()
    supervisor.start(ranks=2)
    supervisor.codes(ranks=2)
    (first, threads), (second, _) = (json.loads(f"[{supervisor.log(rank).strip().replace('] ', '], ')}]") for rank in range(2))
    assert first
    assert second
    assert not set(first) & set(second)
    assert threads == 1
