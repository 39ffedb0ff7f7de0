"""Weights that others trained into a model: all of it, or all but its last layer where the number of classes is another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from launcher.worker.errors import WorkerError

SHOWN = 8
COUNTER = "num_batches_tracked"
"""Older files do not have it."""


def fit(model: nn.Module, stored: Mapping[str, Any], source: str) -> str | None:
    """Fills the model; what was left out, in words: the head, where it gives another number of outputs.

    Raises WorkerError that names every tensor that is missing, unexpected or of another shape.
    """
    own = model.state_dict()
    head = last_layer(model)
    both = [name for name in own if isinstance(own[name], Tensor) and isinstance(stored.get(name), Tensor)]
    shapes = {name: (list(stored[name].shape), list(own[name].shape)) for name in both}
    misfits = {name: pair for name, pair in shapes.items() if pair[0] != pair[1]}
    replaced = {name for name in misfits if name in head and misfits[name][0][1:] == misfits[name][1][1:]}
    problems = [
        *named("missing there", [name for name in own if name not in stored and not name.endswith(COUNTER)]),
        *named("not in this model", [name for name in stored if name not in own]),
        *named("of another shape", [f"{name} {there} instead of {here}" for name, (there, here) in misfits.items()
                                    if name not in replaced]),
    ]  # fmt: skip
    if problems:
        raise WorkerError(f"train.weights: {source} does not fit train.model. {'. '.join(problems)}", kind="spec")
    taken = {name: value for name, value in stored.items() if not (replaced and name in head)}
    model.load_state_dict(taken, strict=False)
    if not replaced:
        return None
    there, here = misfits[min(replaced, key=len)]
    return f"the head ({', '.join(sorted(head))}), which has {here[0]} outputs where they have {there[0]},"


def last_layer(model: nn.Module) -> set[str]:
    """Names of its tensors: what a network of this kind calls its head, and what `num_classes` decides."""
    layers = [(path, module) for path, module in model.named_modules() if any(True for _ in module.parameters(recurse=False))]
    if not layers:
        return set()
    path, layer = layers[-1]
    return {f"{path}.{name}".lstrip(".") for name in layer.state_dict() if "." not in name}


def named(what: str, names: list[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return [f"{what.capitalize()}: {', '.join(names[:SHOWN])}{more}"]
