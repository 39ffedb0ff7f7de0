"""Optimizers: which parameters get which settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from launcher.spec.train import OptimizerTarget
from launcher.worker.errors import WorkerError

Named = tuple[str, nn.Parameter]

FUSED = ("adam", "adamw")
"""What one kernel does on a GPU without being asked for. Not sgd, whose momentum begins wrongly there (torch/optim/sgd.py,
_fused_sgd): where fp16's scaler leaves the first step out, it stays uninitialised memory, and a parameter whose first gradient
comes later than the others' is an error. Not adagrad: torch 2.7 has no such kernel. Both would also refuse sparse gradients.
"""


def make_optimizer(build: Callable[..., Optimizer], model: nn.Module, target: OptimizerTarget) -> Optimizer:
    """The optimizer over all parameters that learn; each group's rate is kept as `initial_lr` for the schedule.

    Raises WorkerError where it has none, or where a step needs more than the gradient.
    """
    optimizer = build(parameter_groups(model, target))
    if needs_closure(optimizer):
        raise WorkerError(
            f"train.optimizer: {target.target} computes the loss anew within a step (its step() needs a closure), and the "
            "built-in worker computes it once. A script of your own may use it: run: {script: ...} in place of train:",
            kind="spec",
        )
    for group in optimizer.param_groups:
        if "lr" not in group:
            raise WorkerError(
                f"train.optimizer: {target.target} keeps no 'lr' in its param_groups, and that is what a schedule changes. Give "
                "it one: super().__init__(parameters, {'lr': lr})",
                kind="spec",
            )
        group["initial_lr"] = float(group["lr"])
    return optimizer


def by_device(target: OptimizerTarget, parameters: Iterable[Tensor]) -> dict[str, Any]:
    """On a GPU one kernel for all parameters, where FUSED has it and the job says nothing else; elsewhere torch's choice."""
    said = any(name in target.arguments for name in ("foreach", "fused")) or target.arguments.get("capturable")
    fits = all(each.device.type == "cuda" and each.is_floating_point() for each in parameters)
    return {"fused": True} if target.target in FUSED and fits and not said else {}


def needs_closure(optimizer: Optimizer) -> bool:
    """As LBFGS does."""
    parameters = inspect.signature(optimizer.step).parameters.values()
    return any(each.default is each.empty and each.kind is each.POSITIONAL_OR_KEYWORD for each in parameters)


def parameter_groups(model: nn.Module, target: OptimizerTarget) -> list[dict[str, Any]]:
    """The first pattern that matches a name decides. Raises WorkerError for a pattern that matches nothing."""
    learning = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    if not learning:
        raise WorkerError("train.model has no parameter that learns: there is nothing to train", kind="spec")
    left = dict(learning)
    groups = []
    for group in target.groups:
        matching = [(name, left.pop(name)) for name in list(left) if fnmatchcase(name, group.match)]
        if not matching:
            raise WorkerError(
                f"train.optimizer.groups: '{group.match}' matches no parameter that is left. "
                f"Parameters: {', '.join(dict(learning))}",
                kind="spec",
            )
        own = {key: value for key, value in (("lr", group.lr), ("weight_decay", group.weight_decay)) if value is not None}
        groups += split_by_decay(matching, own, target.decay)
    return groups + split_by_decay(list(left.items()), {}, target.decay)


def split_by_decay(named: list[Named], settings: dict[str, Any], decay: str) -> list[dict[str, Any]]:
    """`matrices` leaves biases and the weights of norms, which are vectors, without decay."""
    if decay == "all":
        return list(groups_of([(named, settings)]))
    matrices = [each for each in named if each[1].ndim > 1]
    vectors = [each for each in named if each[1].ndim <= 1]
    return list(groups_of([(matrices, settings), (vectors, settings | {"weight_decay": 0.0})]))


def groups_of(parts: list[tuple[list[Named], dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    yield from ({"params": [parameter for _, parameter in named], **settings} for named, settings in parts if named)
