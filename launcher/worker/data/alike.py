"""What is evaluated on, or predicted later, is prepared as the training set: its classes have the same numbers, and its inputs
are normalised by the same statistics, also where they come from another file or folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, Self, runtime_checkable

from torch.utils.data import Subset

from launcher.spec.target import Target
from launcher.worker.data.arrays import Prepared
from launcher.worker.errors import WorkerError
from launcher.worker.targets import built, builtin


@runtime_checkable
class Named(Protocol):
    """A data set whose classes have names, by which they are numbered."""

    names: Sequence[str] | None

    def renumbered(self, known: Sequence[str]) -> Self: ...


def alike(dataset: Any, train: Any, target: Target, field: str) -> Any:
    """`dataset`, which `target` gave, as `train` is prepared. Raises WorkerError for a class that nothing is learned of."""
    whole = train.dataset if type(train) is Subset else train  # a fold of it
    if not builtin("data", target):
        return dataset
    if isinstance(dataset, Prepared) and isinstance(whole, Prepared):
        dataset = normalized_alike(dataset, whole, target, field)
    return numbered_alike(dataset, whole, field) if isinstance(dataset, Named) and isinstance(whole, Named) else dataset


def normalized_alike(dataset: Prepared, whole: Prepared, target: Target, field: str) -> Prepared:
    own, wanted = dataset.statistics, whole.statistics
    if own is None or wanted is None or own.mean.shape != wanted.mean.shape or own.equal(wanted):
        return dataset
    raw = built("data", Target.model_validate({"target": target.target, **target.arguments, "normalize": False}), field)
    return Prepared(wanted.normalized(raw.tensors[0]), dataset.tensors[1], statistics=wanted, names=dataset.names)


def numbered_alike(dataset: Named, whole: Named, field: str) -> Named:
    own, known = dataset.names, whole.names
    if own is None or known is None or list(own) == list(known):
        return dataset
    if unknown := [name for name in own if name not in known]:
        raise WorkerError(
            f"{field}: class '{unknown[0]}' is none of those that train.data.train has: {', '.join(known)}", kind="spec"
        )
    return dataset.renumbered(known)
