"""Initial values other than a layer's own, as the job says."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

import torch
from torch import nn

from launcher.spec.target import Target
from launcher.worker.errors import WorkerError
from launcher.worker.targets import call, found

Named = dict[str, nn.Parameter]
OF_MATRICES = ("xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal", "orthogonal")
"""What needs at least 2 dimensions."""


def initialise(model: nn.Module, init: Target | Mapping[str, Target] | None) -> None:
    """Draws from torch's default generator, in the order of the parameters. Raises WorkerError for a pattern that leads to
    nothing."""
    parameters = dict(model.named_parameters())
    if isinstance(init, Target):
        fill(with_matrices(parameters, "train.init", init), init, "train.init")
    elif init is not None:
        for pattern, target in init.items():
            field = f"train.init: '{pattern}'"
            matching = {name: parameters.pop(name) for name in list(parameters) if fnmatchcase(name, pattern)}
            if not matching:
                raise WorkerError(
                    f"{field} matches no parameter that is left. Parameters: {', '.join(dict(model.named_parameters()))}",
                    kind="spec",
                )
            fill(with_matrices(matching, field, target) if target.target in OF_MATRICES else matching, target, field)


def with_matrices(parameters: Named, field: str, target: Target) -> Named:
    """Those of at least 2 dimensions. Raises WorkerError where there is none."""
    matrices = {name: parameter for name, parameter in parameters.items() if parameter.ndim > 1}
    if not matrices:
        raise WorkerError(
            f"{field}: {target.target} is for parameters of at least 2 dimensions, and there is none among "
            f"{', '.join(parameters) or 'those of train.model'}. For vectors there are zeros, ones, constant, normal and uniform",
            kind="spec",
        )
    return matrices


@torch.no_grad()
def fill(parameters: Named, target: Target, field: str) -> None:
    function = found("init", target, field)
    for parameter in parameters.values():
        call(function, target, field, parameter, **target.arguments)
