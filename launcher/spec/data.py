from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import InitErrorDetails

from launcher.spec.base import Agreeing, wrong
from launcher.spec.target import Of, Target


def switch(value: Any) -> Any:
    """`true` is plain SMOTE, `false` is none."""
    return "smote" if value is True else None if value is False else value


DataTarget = Annotated[Target, Of("data")]


class AugmentTarget(Target):
    classes: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] | None = None
    """Only samples of these classes."""
    minority: bool = False
    """Only samples of classes that are rarer than the average class."""


class Data(Agreeing):
    """What is learned from, and in which portions."""

    train: DataTarget
    """Training set; an item is (input, target) or a mapping."""
    val: DataTarget | None = None
    """Evaluated every `evaluate_every`."""
    test: DataTarget | None = None
    """Evaluated once, at the end."""
    batch_size: Annotated[int, Field(ge=1)]
    """Samples per optimizer step over all ranks (global)."""
    micro_batch_size: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    """Samples per rank and step of accumulation; `auto` is the rank's whole share, halved when memory runs out."""
    shuffle: bool = True
    """A new order each epoch, a function of (seed, epoch)."""
    drop_last: bool = False
    """Leave out the last batch of an epoch where it is not full."""
    num_workers: Annotated[int, Field(ge=0, le=256)] = 0
    """Loader processes per rank; the order and the samples are the same for any number."""
    pin_memory: Literal["auto"] | bool = "auto"
    """Page-locked batches, for copies that overlap; `auto` on GPUs."""
    prefetch: Annotated[int, Field(ge=1, le=64)] = 2
    """Batches that each loader process keeps ready."""
    collate: Annotated[Target, Of("collate")] | None = None
    """Makes a batch of a list of items; torch's default otherwise."""
    augment: list[Annotated[AugmentTarget, Of("augment", beside=AugmentTarget)]] = []
    """Applied to training inputs, in order; randomness is a function of (seed, epoch, sample)."""
    sampling: Annotated[Target, Of("sampling")] | None = None
    """Which samples an epoch draws, a function of (seed, epoch); each sample once without it."""
    smote: Annotated[Annotated[Target, Of("smote")] | None, BeforeValidator(switch)] = None
    """New samples of rare classes, made once from a training set in memory: false, true, or a target."""

    @staticmethod
    def disagreements(given: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        for number, each in enumerate(items if isinstance(items := given.get("augment"), list) else []):
            if isinstance(each, Mapping) and each.get("minority") is True and each.get("classes") is not None:
                yield wrong("give one of classes and minority", "augment", number)
        if given.get("shuffle") is False and given.get("sampling") is not None:
            yield wrong("sampling draws in an order of its own: leave shuffle out", "shuffle")
