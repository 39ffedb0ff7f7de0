"""Weights to begin with: of a run, a checkpoint, a file, or torchvision. Read before the first step, and never again."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from launcher import events
from launcher.checkpoints import MANIFEST, Checkpoint, digest
from launcher.errors import SpecError, did_you_mean, near
from launcher.load import load_job
from launcher.rundir import RunDir
from launcher.spec.weights import OF_TORCHVISION
from launcher.worker.chosen import choose
from launcher.worker.errors import WorkerError
from launcher.worker.fitting import fit
from launcher.worker.restore import stored_weights
from launcher.worker.world import World, first_on_node

INNER = ("state_dict", "model_state_dict", "model")
"""Under which training scripts keep the weights among other things."""
WRAPPERS = ("module.", "_orig_mod.")
"""What DistributedDataParallel and torch.compile put in front of names."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    state: Mapping[str, Any]
    source: str
    """In words."""
    sha256: str | None = None


def begin_with(named: str | None, run: RunDir, model: nn.Module, world: World) -> None:
    """Fills the model, on every rank alike. Raises WorkerError where anything but the head does not fit."""
    if named is None:
        return
    weights = read(named, world)
    fresh = fit(model, weights.state, weights.source)
    if world.first:
        told = f"; {fresh} begins anew" if fresh else ""
        print(f"train.weights: {len(weights.state)} tensors of {weights.source}{told}", flush=True)
        events.record(run, "weights", attempt=world.attempt, source=weights.source, sha256=weights.sha256, fresh=fresh)


def read(named: str, world: World) -> Weights:
    """Raises WorkerError."""
    if OF_TORCHVISION.fullmatch(named):
        return of_torchvision(named, world)
    path = Path(named)
    if path.is_dir() and not (path / MANIFEST).is_file():
        path = of_run(RunDir(path), world)
    if path.is_dir():
        if (damage := Checkpoint(path, 0).damage()) is not None:
            raise WorkerError(f"train.weights: checkpoint {path} is damaged: {damage}", kind="spec")
        file, state = stored_weights(path)
        return Weights(state=state, source=f"{path.name} of {path.parents[1].name}", sha256=digest(file))
    return Weights(state=of_file(path), source=str(path), sha256=digest(path))


def of_run(run: RunDir, world: World) -> Path:
    """Its best checkpoint where one is kept, else the newest. A collective: it may go on training meanwhile."""
    try:
        return run.checkpoints / world.by_first(lambda: choose(run, load_job(run.job), None))
    except SpecError as error:
        raise WorkerError(f"train.weights: {error}", kind="spec") from None


def of_torchvision(named: str, world: World) -> Weights:
    from torchvision.models import get_weight

    try:
        weights = get_weight(named)
    except (ValueError, AttributeError, KeyError) as error:
        close = did_you_mean(near(named, torchvision_names()))
        raise WorkerError(f"train.weights: torchvision has no weights '{named}'.{close}", kind="spec") from error
    try:
        with first_on_node(world):
            return Weights(state=weights.get_state_dict(progress=False, check_hash=True), source=f"{weights} ({weights.url})")
    except (OSError, RuntimeError) as error:
        place = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
        raise WorkerError(
            f"train.weights: {weights.url} could not be downloaded: {error}. Where there is no network, put the file at {place}",
            kind="environment",
        ) from error


def torchvision_names() -> Iterator[str]:
    from torchvision.models import get_model_weights, list_models

    for name in list_models():
        kind = get_model_weights(name)
        yield from (f"{kind.__name__}.{member}" for member in ("DEFAULT", *kind.__members__))


def of_file(path: Path) -> dict[str, Tensor]:
    """Executes nothing that the file says. Raises WorkerError."""
    try:
        loaded = load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WorkerError(f"train.weights: {path} cannot be read: {error.strerror or error}", kind="spec") from error
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, ValueError, EOFError, KeyError) as error:
        first = str(error).strip().split("\n")[0]
        raise WorkerError(
            f"train.weights: {path} holds no plain weights: {first}. A file of weights is a .safetensors, or what "
            "torch.save(model.state_dict(), path) writes; anything else would have to execute code to be read",
            kind="spec",
        ) from error
    return unwrapped(loaded, path)


def unwrapped(loaded: Any, path: Path) -> dict[str, Tensor]:
    whole: Mapping[Any, Any] = loaded if isinstance(loaded, Mapping) else {}
    inner = next((whole[key] for key in INNER if isinstance(whole.get(key), Mapping)), whole)
    tensors = {str(name): value for name, value in inner.items() if isinstance(value, Tensor)}
    if not tensors:
        raise WorkerError(f"train.weights: {path} holds no tensors by name, as a state_dict does", kind="spec")
    for prefix in WRAPPERS:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors
