"""Which parts of the model stay as they are: `freeze` and `train_only`."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from launcher.errors import did_you_mean, near
from launcher.worker.errors import WorkerError

SHOWN_NAMES = 40


def freeze(model: nn.Module, frozen: list[str], train_only: list[str]) -> None:
    """What is frozen gets no gradient; a norm whose every tensor is, stays in eval mode, with the statistics that it has.

    Raises WorkerError for a pattern that matches nothing, and where nothing is left to learn.
    """
    if not frozen and not train_only:
        return
    names = [name for name, _ in [*model.named_parameters(remove_duplicate=False), *model.named_buffers()]]
    still = matching(names, frozen, "train.freeze")
    if train_only:
        still |= set(names) - matching(names, train_only, "train.train_only")
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if name in still:
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise WorkerError("train.freeze and train.train_only leave nothing to learn: every parameter is frozen", kind="spec")
    for path, module in model.named_modules():
        own = [f"{path}.{name}".lstrip(".") for name in owned(module)]
        if isinstance(module, _NormBase) and own and still.issuperset(own):
            module.eval()


def owned(module: nn.Module) -> list[str]:
    """What a norm learns, or, where it learns nothing, its statistics."""
    learned = [name for name, parameter in module._parameters.items() if parameter is not None]
    return learned or [name for name, buffer in module._buffers.items() if buffer is not None]


def matching(names: list[str], patterns: list[str], field: str) -> set[str]:
    """A pattern means names (`layer1.*`, `*.bias`), or the part of the model that has it as its path (`layer1`)."""
    found: set[str] = set()
    for pattern in patterns:
        of_one = {name for name in names if fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")}
        if not of_one:
            raise WorkerError(f"{field}: '{pattern}' matches nothing of train.model.{there(names, pattern)}", kind="spec")
        found |= of_one
    return found


def there(names: Iterable[str], pattern: str) -> str:
    """What may have been meant, and what there is."""
    paths = dict.fromkeys(name.rpartition(".")[0] or name for name in names)
    shown = [*paths][:SHOWN_NAMES]
    more = f" and {len(paths) - SHOWN_NAMES} more" if len(paths) > SHOWN_NAMES else ""
    return f"{did_you_mean(near(pattern.removesuffix('.*'), paths))} It has {', '.join(shown)}{more}"
