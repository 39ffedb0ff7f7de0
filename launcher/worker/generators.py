"""The states of the process's random generators, as JSON."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor


def capture() -> dict[str, Any]:
    """torch (host and current GPU), numpy and random."""
    version, words, gauss = random.getstate()
    states: dict[str, Any] = {
        "torch": _text(torch.get_rng_state()),
        "random": [version, list(words), gauss],
        "numpy": {key: _plain(value) for key, value in np.random.get_state(legacy=False).items()},
    }
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        states["cuda"] = _text(torch.cuda.get_rng_state())
    return states


def put_back(states: dict[str, Any]) -> None:
    version, words, gauss = states["random"]
    torch.set_rng_state(_tensor(states["torch"]))
    random.setstate((version, tuple(words), gauss))
    np.random.set_state(states["numpy"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(_tensor(states["cuda"]))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value


def _text(state: Tensor) -> str:
    return bytes(state.tolist()).hex()


def _tensor(text: str) -> Tensor:
    return torch.tensor(list(bytes.fromhex(text)), dtype=torch.uint8)
