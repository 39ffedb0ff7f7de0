from __future__ import annotations

import os

import torch

CUBLAS = "CUBLAS_WORKSPACE_CONFIG"


def choose_algorithms(*, deterministic: bool) -> None:
    """Before anything is computed. Where an operation has no deterministic algorithm, torch raises when it is met."""
    if deterministic:
        os.environ.setdefault(CUBLAS, ":4096:8")
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.deterministic = deterministic
    if deterministic:
        torch.backends.cudnn.benchmark = False
