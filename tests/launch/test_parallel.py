"""Which processes a training has: one per GPU, or one that has them all."""

from __future__ import annotations

import pytest

from launcher.errors import SpecError
from launcher.load import parse_job
from launcher.plan import Cluster, Machine, make_world

ONE_PROCESS = "trains in one process, and resources.{} asks for {}: the others would have nothing to do"


@pytest.mark.parametrize("parallel", ["none", "data_parallel"])
@pytest.mark.parametrize(("resources", "words"), [
    ("{nodes: 2}", ONE_PROCESS.format("nodes", 2)), ("{procs_per_node: 3}", ONE_PROCESS.format("procs_per_node", 3)),
    ("{nodes: {min: 1, max: 4}}", ONE_PROCESS.format("nodes", 4)),
])  # fmt: skip
def test_one_process_on_several_is_refused(train: str, parallel: str, resources: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        parse_job(f"{train}resources: {resources}\n", overrides=[f"train.parallel={parallel}"])


@pytest.mark.parametrize(("parallel", "procs"), [("ddp", 4), ("none", 1), ("data_parallel", 1)])
def test_auto_is_one_process_where_one_trains(train: str, parallel: str, procs: int) -> None:
    job = parse_job(train, overrides=[f"train.parallel={parallel}"])
    machine = Machine(host="a", address="a", cpus=tuple(range(8)), gpus=("0", "1", "2", "3"))
    world = make_world(job, Cluster(backend="local", machines=(machine,), python="python"))
    assert (world.procs_per_node, world.device) == (procs, "cuda")


@pytest.mark.parametrize("switch", ["compile", "activation_checkpointing"])
def test_what_replicas_cannot_do_is_refused(train: str, switch: str) -> None:
    with pytest.raises(SpecError, match=f"train.{switch}: it does not go together with parallel: data_parallel"):
        parse_job(train, overrides=["train.parallel=data_parallel", f"train.{switch}=true"])
