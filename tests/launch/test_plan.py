from __future__ import annotations

from typing import Any

import pytest

from launcher.errors import BackendError
from launcher.plan import Cluster, Machine, Plan, make_plan, settle, unsettle
from launcher.spec import Job

TRAIN: dict[str, Any] = {
    "model": {"target": "resnet18", "num_classes": 10}, "loss": "cross_entropy", "optimizer": {"target": "sgd", "lr": 0.1},
    "data": {"train": {"target": "digits", "split": "train"}, "batch_size": 128}, "epochs": 20,
}  # fmt: skip


def job(**parts: Any) -> Job:
    what = {} if "run" in parts else {"train": TRAIN}
    return Job.model_validate({"name": "j", "workdir": "/w", **what, **parts})


def cluster(nodes: int = 1, cores: int = 8, gpus: int = 0, *, rehearsal: bool = False) -> Cluster:
    machines = tuple(
        Machine(host=f"n{index}", address=f"10.0.0.{index}", cpus=tuple(range(cores)), gpus=tuple(map(str, range(gpus))))
        for index in range(nodes)
    )
    return Cluster(backend="local", machines=machines, python="/usr/bin/python3", rehearsal=rehearsal)


@pytest.mark.parametrize(
    ("cores", "gpus", "wants", "procs", "threads", "device"),
    [
        (8, 0, {}, 4, 2, "cpu"),
        (1, 0, {}, 1, 1, "cpu"),
        (3, 0, {}, 1, 3, "cpu"),
        (16, 4, {}, 4, 4, "cuda"),
        (16, 4, {"device": "cpu"}, 8, 2, "cpu"),
        (8, 0, {"procs_per_node": 3}, 3, 2, "cpu"),
        (8, 0, {"procs_per_node": 3, "threads": 7}, 3, 7, "cpu"),
        (2, 0, {"procs_per_node": 4}, 4, 1, "cpu"),
    ],
)
def test_ranks_and_threads_follow_from_the_machine(
    cores: int, gpus: int, wants: Any, procs: int, threads: int, device: str
) -> None:
    world = make_plan(job(resources=wants), cluster(cores=cores, gpus=gpus)).world
    assert (world.procs_per_node, world.threads, world.device) == (procs, threads, device)


def test_batch_arithmetic() -> None:
    data = {**TRAIN["data"], "micro_batch_size": 10}
    batch = make_plan(job(train={**TRAIN, "data": data}, resources={"procs_per_node": 2}), cluster(nodes=2)).batch
    assert batch is not None
    assert (batch.per_rank, batch.micro, batch.accumulation) == (32, 10, 4)
    assert (batch.samples, batch.steps_per_epoch, batch.steps) == (1437, 12, 240)


@pytest.mark.parametrize(("data", "per_epoch"), [
    ({"sampling": "balanced"}, 12), ({"sampling": {"target": "weighted", "num_samples": 256}}, 2),
    ({"sampling": "oversample"}, None),
    ({"sampling": {"target": "my_pkg:drawn"}}, None), ({"smote": True}, None),
    ({"smote": True, "sampling": {"target": "balanced", "num_samples": 300}}, 3), ({"smote": True, "sampling": "balanced"}, None),
])  # fmt: skip
def test_steps_follow_from_what_is_drawn_or_are_not_known_yet(data: Any, per_epoch: int | None) -> None:
    batch = make_plan(job(train={**TRAIN, "data": {**TRAIN["data"], **data}}), cluster()).batch
    assert batch is not None
    assert batch.steps_per_epoch == per_epoch
    assert batch.steps == (per_epoch and per_epoch * 20)


@pytest.mark.parametrize(
    ("change", "per_epoch", "steps"),
    [
        ({"data": {**TRAIN["data"], "drop_last": True}}, 11, 220),
        ({"limit_batches": 3}, 3, 60),
        ({"epochs": None, "max_steps": 7}, 12, 7),
    ],
)
def test_steps_of_an_epoch_and_of_the_run(change: Any, per_epoch: int, steps: int) -> None:
    batch = make_plan(job(train={**TRAIN, **change}), cluster()).batch
    assert batch is not None
    assert (batch.steps_per_epoch, batch.steps) == (per_epoch, steps)


def test_a_plan_survives_json() -> None:
    plan = make_plan(job(env={"A": "${env:B}"}), cluster(nodes=2))
    assert Plan.from_json(plan.to_json()) == plan


def test_nothing_in_a_plan_names_its_run_directory() -> None:
    plan = make_plan(job(), cluster())
    assert plan.entry.argv == ("{run_dir}",)
    assert plan.supervisor[-1] == "{run_dir}"


def test_a_reference_to_the_environment_is_not_resolved() -> None:
    assert make_plan(job(env={"TOKEN": "${env:SECRET}"}), cluster()).env["TOKEN"] == "${env:SECRET}"


@pytest.mark.parametrize(
    ("run", "kind", "target", "argv", "tail"),
    [
        (
            {"script": "train.py", "args": ["--lr", "0.10"]},
            "script",
            "/w/train.py",
            ("--lr", "0.10"),
            ("/w/train.py", "--lr", "0.10"),
        ),
        ({"module": "pkg.train"}, "module", "pkg.train", (), ("-m", "pkg.train")),
        (
            {"program": ["bash", "-c", "true"], "args": ["x"]},
            "program",
            "bash",
            ("-c", "true", "x"),
            ("--no-python", "bash", "-c", "true", "x"),
        ),
    ],
)
def test_a_program_of_the_users_own(run: Any, kind: str, target: str, argv: Any, tail: Any) -> None:
    plan = make_plan(job(run=run), cluster(cores=4))
    assert (plan.entry.kind, plan.entry.target, plan.entry.argv) == (kind, target, argv)
    assert plan.torchrun[-len(tail) :] == tail
    assert "--nproc-per-node=2" in plan.torchrun


def test_gpus_that_are_not_there() -> None:
    with pytest.raises(BackendError, match="asks for cuda, but n0 has no GPU"):
        make_plan(job(resources={"device": "cuda"}), cluster())
    with pytest.raises(BackendError, match="want a GPU each, and there are 2"):
        make_plan(job(resources={"procs_per_node": 4}), cluster(gpus=2))


def test_what_was_auto_is_settled_in_the_job_and_can_be_undone() -> None:
    asked = job()
    plan = make_plan(asked, cluster(cores=4))
    settled = settle(asked, plan)
    assert (settled.resources.procs_per_node, settled.resources.threads, settled.resources.backend) == (2, 2, "local")
    assert unsettle(settled, plan) == asked


def test_a_rehearsal_gives_each_node_its_share_of_gpus() -> None:
    machines = tuple(Machine(host="h", address="127.0.0.1", cpus=(i,), gpus=(str(i),)) for i in range(2))
    plan = make_plan(job(), Cluster(backend="local", machines=machines, python="python", rehearsal=True))
    assert [(node.cpus, node.env) for node in plan.nodes] == [((i,), {"CUDA_VISIBLE_DEVICES": str(i)}) for i in range(2)]


def test_the_fork_server_loads_what_the_job_needs_and_no_users_module() -> None:
    own = {**TRAIN, "model": {"target": "my_pkg.models:Net"}}
    preload = make_plan(job(train=own), cluster()).entry.preload
    assert "launcher.worker.train" in preload
    assert not any("my_pkg" in name for name in preload)
