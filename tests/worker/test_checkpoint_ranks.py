"""Buffers that differ between ranks are kept for each of them."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing

from launcher.rundir import RunDir
from launcher.worker.restore import restore
from launcher.worker.world import World
from tests.worker.trainings import new_run, saver, training

WORLD_SIZE = 2


def rank_main(rank: int, folder: str, synchronised: bool) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=WORLD_SIZE)
    run, world, state = RunDir(f"{folder}/run"), World(rank=rank, world_size=WORLD_SIZE), training()
    own = torch.full((3,), 0.0 if synchronised else float(rank))
    state.model[1].running_mean.copy_(own)
    state.sums["loss"] = float(rank + 1)
    writer = saver(run, world)
    writer.save(state, metrics={}, rows=5, attempt=1)
    writer.close()
    again = training()
    dist.barrier()
    assert restore(run, again, world) == 5
    assert again.model[1].running_mean.equal(own)
    assert again.sums["loss"] == rank + 1
    dist.destroy_process_group()


def save_on_two_ranks(tmp_path: Path, synchronised: bool) -> RunDir:
    run = new_run(tmp_path)
    (tmp_path / "run").symlink_to(run.path)
    torch.multiprocessing.start_processes(rank_main, (str(tmp_path), synchronised), nprocs=WORLD_SIZE, start_method="forkserver")
    return run


def test_each_rank_gets_its_own_buffers_back_and_another_world_size_their_mean(tmp_path: Path) -> None:
    run, state = save_on_two_ranks(tmp_path, synchronised=False), training()
    assert (run.checkpoints / "step-00000000" / "buffers.safetensors").exists()
    restore(run, state, World())
    assert state.model[1].running_mean.tolist() == [0.5, 0.5, 0.5]
    assert state.sums["loss"] == 1 + 2


def test_buffers_that_agree_are_kept_once(tmp_path: Path) -> None:
    run = save_on_two_ranks(tmp_path, synchronised=True)
    assert not (run.checkpoints / "step-00000000" / "buffers.safetensors").exists()
