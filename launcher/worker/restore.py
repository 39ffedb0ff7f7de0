"""A training, or a model alone, out of a checkpoint: bit for bit, without executing anything that a file says."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim import Optimizer

from launcher import checkpoints, events
from launcher.checkpoints import BUFFERS, EMA, MANIFEST, MODEL, OPTIMIZER, STATE
from launcher.rundir import RunDir, read_json
from launcher.worker import generators
from launcher.worker.errors import WorkerError
from launcher.worker.state import TrainState
from launcher.worker.state_tree import decode
from launcher.worker.world import World


def restore(run: RunDir, state: TrainState, world: World) -> int | None:
    """Fills `state` from the newest whole checkpoint; the number of history rows that it covers, or None where there is none.

    Damaged ones are reported and set aside. A collective: rank 0 verifies and decides. Raises WorkerError where a checkpoint does
    not fit the job.
    """
    name = world.by_first(lambda: choose(run, world.attempt))
    if name is None:
        return None
    folder = run.checkpoints / name
    described, manifest = read_json(folder / STATE), read_json(folder / MANIFEST)
    tensors = load_file(folder / OPTIMIZER)
    fill_model(folder, state.model, decode(described["model"], tensors, torch.device("cpu")))
    fill_optimizer(folder, state.optimizer, decode(described["optimizer"], tensors, world.device))
    if state.scaler is not None and described["scaler"] is not None:
        state.scaler.load_state_dict(decode(described["scaler"], tensors, world.device))
    if state.ema is not None:
        state.ema.fill(state.model, load_file(folder / EMA))
    state.from_json(described["train"], world)
    if manifest["world_size"] == world.world_size:
        fill_buffers(folder, state.model, world.rank)
        generators.put_back(described["random"][world.rank])
    return int(manifest["rows"])


def choose(run: RunDir, attempt: int) -> str | None:
    """The name of the newest whole checkpoint; damaged ones are told of, and hidden. One that cannot be read stays where it is.

    Raises OSError where there is none but such: the training would begin anew.
    """
    checkpoints.recover(run)
    unread: OSError | None = None
    for checkpoint in reversed(checkpoints.checkpoints(run)):
        try:
            damage = checkpoint.damage()
        except OSError as error:  # a bad sector; or a file system that stands still, and will be there again
            unread = error
            tell(run, attempt, checkpoint, f"checkpoint {checkpoint.path.name} cannot be read and was not used: {error.strerror}")
            continue
        if damage is None:
            return checkpoint.path.name
        sentence = checkpoints.passed_over(checkpoint, damage)
        kept = checkpoints.set_aside(checkpoint)
        tell(run, attempt, checkpoint, sentence, f". What is left of it was moved to {kept}")
    if unread is not None:
        raise unread
    return None


def tell(run: RunDir, attempt: int, checkpoint: checkpoints.Checkpoint, sentence: str, more: str = "") -> None:
    print(f"{sentence}{more}", file=sys.stderr, flush=True)
    events.record(run, "damaged", attempt=attempt, name=checkpoint.path.name, reason=sentence)


def load_model_weights(folder: Path, model: nn.Module) -> None:
    """The module's state alone, for evaluation: averaged where the job says so. Raises WorkerError where it does not fit."""
    fill(folder, model, stored_weights(folder)[1])


def stored_weights(folder: Path) -> tuple[Path, dict[str, Any]]:
    """What is evaluated of a checkpoint, on the host, and the file that has the tensors."""
    described = read_json(folder / STATE) or {}
    file, extra = folder / described.get("evaluated", MODEL), described.get("model")
    decoded = decode(extra, load_file(folder / OPTIMIZER), torch.device("cpu")) if extra else {}
    return file, load_file(file) | decoded


def fill_model(folder: Path, model: nn.Module, extra: Mapping[str, Any]) -> None:
    fill(folder, model, load_file(folder / MODEL) | dict(extra))


def fill(folder: Path, model: nn.Module, state: Mapping[str, Any]) -> None:
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise WorkerError(f"{folder.name} does not fit the model that job.yaml describes: {error}", kind="spec") from None


def fill_optimizer(folder: Path, optimizer: Optimizer, stored: dict[str, Any]) -> None:
    try:
        optimizer.load_state_dict(stored)
    except ValueError as error:
        raise WorkerError(f"{folder.name} does not fit the optimizer that job.yaml describes: {error}", kind="spec") from None
    # torch casts floating states to their parameter's dtype and device, which loses bits of states kept wider than that.
    for index, parameter in enumerate(chain.from_iterable(group["params"] for group in optimizer.param_groups)):
        exact = stored.get("state", {}).get(index)
        loaded = optimizer.state[parameter]
        if exact and exact.keys() == loaded.keys():
            optimizer.state[parameter] = {name: beside(value, loaded[name]) for name, value in exact.items()}


def beside(exact: Any, loaded: Any) -> Any:
    """Where torch wants it: a step counter stays on the host."""
    return exact.to(loaded.device) if isinstance(exact, Tensor) and isinstance(loaded, Tensor) else exact


def fill_buffers(folder: Path, model: nn.Module, rank: int) -> None:
    """This rank's own, where the ranks' differed. Another world size goes on from what they agreed on."""
    if not (folder / BUFFERS).exists():
        return
    own: dict[str, Tensor] = {
        name: buffer
        for owner, _, name, buffer in ((*key.partition("."), value) for key, value in load_file(folder / BUFFERS).items())
        if owner == str(rank)
    }
    model.load_state_dict(own, strict=False)
