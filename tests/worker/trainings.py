"""Small trainings to save and restore, and runs to do it in."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from launcher.load import dump_job
from launcher.rundir import RunDir
from launcher.spec import Job
from launcher.worker.checkpoint import Saver
from launcher.worker.history import History
from launcher.worker.restore import restore
from launcher.worker.state import TrainState
from launcher.worker.world import World

ALONE = World()


def job(**sections: Any) -> Job:
    data = {"train": "my_pkg.data:Set", "val": "my_pkg.data:Set", "batch_size": 4}
    train = {"model": "my_pkg.nets:Net", "loss": "cross_entropy", "optimizer": {"target": "sgd", "lr": 0.1}, "data": data}
    train |= {"metrics": ["accuracy"], "epochs": 2}
    return Job.model_validate({"name": "small", "workdir": "/", "train": train, **sections})


def new_run(folder: Path, **sections: Any) -> RunDir:
    run = RunDir(folder / "20261124-193812-small-k3f9")
    run.path.mkdir(parents=True)
    run.job.write_text(dump_job(job(**sections)))
    return run


def saver(run: RunDir, world: World = ALONE, **keeping: Any) -> Saver:
    described = job(checkpoint=keeping)
    return Saver(run, world, described.checkpoint, job=described)


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 16, 2))


def training(model: nn.Module | None = None, optimizer: Any = torch.optim.AdamW, **settings: Any) -> TrainState:
    model = model if model is not None else network()
    return TrainState(model=model, optimizer=optimizer(model.parameters(), **({"lr": 1e-2} | settings)))


def step(state: TrainState) -> float:
    """A step that is a function of the state alone, as the worker's are."""
    batch = torch.randn(4, 1, 6, 6, generator=torch.Generator().manual_seed(state.step))
    batch = batch.to(next(state.model.parameters()).dtype)

    def closure() -> Tensor:
        state.optimizer.zero_grad()
        loss = state.model(batch).square().mean()
        loss.backward()
        return loss

    loss = float(state.optimizer.step(closure).detach())
    state.step += 1
    return loss


def saved(run: RunDir, state: TrainState, **keeping: Any) -> Path:
    writer = saver(run, **keeping)
    writer.save(state, metrics={}, rows=0, attempt=1, block=True)
    writer.close()
    return run.checkpoints / f"step-{state.step:08d}"


def tensors(value: Any, at: str = "") -> dict[str, Tensor]:
    """The tensors in a state_dict, by path."""
    if isinstance(value, Tensor):
        return {at: value}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    return dict(chain.from_iterable(tensors(item, f"{at}.{key}").items() for key, item in items))


def everything(state: TrainState) -> dict[str, Tensor]:
    return tensors([state.model.state_dict(), state.optimizer.state_dict()])


def same(one: TrainState, other: TrainState) -> bool:
    """Bit for bit: values, dtypes, and what is not a tensor."""
    mine, theirs = everything(one), everything(other)
    equal = all(a.dtype == b.dtype and bits(a) == bits(b) for a, b in zip(mine.values(), theirs.values(), strict=True))
    return equal and mine.keys() == theirs.keys() and one.step == other.step


def bits(tensor: Tensor) -> bytes:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def train_on(folder: str, last_step: int) -> None:
    """A process that trains from the newest checkpoint to `last_step`, with a row and a checkpoint after each step."""
    torch.set_num_threads(1)
    run, state = RunDir(folder), training()
    history, writer = History(run, ALONE), saver(run)
    history.cut(restore(run, state, ALONE) or 0)
    while state.step < last_step:
        history.row(state.step + 1, {"train/loss": step(state)})
        history.fsync()
        writer.save(state, metrics={}, rows=history.rows, attempt=1)
    writer.close()
