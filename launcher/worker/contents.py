"""What stands in a checkpoint's files.

model.safetensors       the module's state_dict, under its own keys
optimizer.safetensors   the tensors in the optimizer's state_dict
ema.safetensors         the same with the averages in place of the weights, where train.ema takes them
buffers.safetensors     each rank's own buffers, as `RANK.NAME`, where they differ
state.json              all that is not a tensor
manifest.json           size and sha256 of each; written last
"""

from __future__ import annotations

import copy
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from launcher.checkpoints import BUFFERS, EMA, MODEL, OPTIMIZER
from launcher.worker import rank_state
from launcher.worker.errors import WorkerError
from launcher.worker.rank_state import RankState
from launcher.worker.state import TrainState
from launcher.worker.state_tree import encode
from launcher.worker.tensor_file import lay_out


@dataclass(frozen=True, kw_only=True)
class Contents:
    """A train state as what goes into files."""

    tensors: dict[str, dict[str, Tensor]]
    """By file name."""
    described: dict[str, Any]
    """JSON for state.json; nothing of it changes with the next step."""


def contents(state: TrainState, ranks: list[RankState]) -> Contents:
    """Raises WorkerError where the state holds what only pickle could."""
    model, extra = split(state.model.state_dict())
    optimizer: dict[str, Tensor] = {}
    try:
        described = {
            "optimizer": encode(state.optimizer.state_dict(), optimizer, at="optimizer"),
            "scaler": encode(state.scaler.state_dict() if state.scaler else None, optimizer, at="scaler"),
            "model": encode(extra, optimizer, at="model"),
        }
        agreed = rank_state.agreed(ranks)
        averaged = state.ema.over(state.model) if state.ema else {}
        tensors = {MODEL: model | agreed, OPTIMIZER: optimizer, BUFFERS: buffers_by_rank(ranks)}
        tensors |= {EMA: averaged | agreed} if averaged else {}
        for each in tensors.values():
            lay_out(each)
    except TypeError as error:
        raise WorkerError(f"the training cannot be saved: {error}", kind="spec") from None
    evaluated = EMA if averaged and state.ema and state.ema.settings.evaluate else MODEL
    described |= {
        "train": copy.deepcopy(state.to_json()), "evaluated": evaluated, "random": [each.random for each in ranks],
        "python": platform.python_version(), "torch": torch.__version__,
    }  # fmt: skip
    return Contents(tensors=tensors, described=described)


def split(state_dict: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A module's tensors, and what its modules' get_extra_state() gave."""
    tensors = {key: value for key, value in state_dict.items() if isinstance(value, Tensor)}
    return tensors, {key: value for key, value in state_dict.items() if key not in tensors}


def buffers_by_rank(ranks: list[RankState]) -> dict[str, Tensor]:
    return {f"{rank}.{name}": buffer for rank, each in enumerate(ranks) for name, buffer in each.buffers.items()}
