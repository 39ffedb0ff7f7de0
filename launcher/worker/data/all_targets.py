"""Every target of a training set, for what is a function of all of them."""

from __future__ import annotations

from itertools import chain

import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from launcher.worker.data.classes import kept
from launcher.worker.data.fetch import Fetch
from launcher.worker.errors import WorkerError
from launcher.worker.losses.batch import target_of
from launcher.worker.world import World


def all_targets(fetch: Fetch, world: World) -> Tensor:
    """(N, ...) in the order of samples; where they are not at hand every rank reads its part of the items. A collective.

    Raises WorkerError for a stream, which ends nowhere that is known.
    """
    dataset = fetch.dataset
    if (at_hand := kept(dataset)) is not None:
        return torch.as_tensor(at_hand)
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
        raise WorkerError(
            f"train.loss: auto weighs by all targets, and {fetch.place} is a stream. Write the weights as a list", kind="spec"
        )
    own = [
        torch.as_tensor(target_of(fetch.item(0, sample, upto=0))) for sample in range(world.rank, len(dataset), world.world_size)
    ]
    by_rank = world.gather(own)
    return torch.stack(list(chain.from_iterable(zip(*padded(by_rank), strict=True)))[: len(dataset)])


def padded(by_rank: list[list[Tensor]]) -> list[list[Tensor]]:
    longest = len(by_rank[0])
    return [each + by_rank[0][:1] * (longest - len(each)) for each in by_rank]
