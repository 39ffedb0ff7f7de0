"""One message for many agents, as the fewest lines that stay short enough to stay whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

from launcher.protocol import MAX_BYTES, ToAgent, encode

T = TypeVar("T")


def divided(message: ToAgent, among: Mapping[T, Sequence[int]]) -> Iterator[tuple[T, ToAgent]]:
    """What goes to each carrier: it names those of its agents that are meant."""
    fields = cast(dict[str, Any], message)
    bases = dict(zip(message["to"], fields["base_ranks"], strict=True)) if "base_ranks" in fields else None
    most = most_addressed(fields)
    for carrier, agents in among.items():
        for start in range(0, len(agents), most):
            some = agents[start : start + most]
            own = {} if bases is None else {"base_ranks": [bases[agent] for agent in some]}
            yield carrier, cast(ToAgent, {**fields, "to": some, **own})


def most_addressed(fields: Mapping[str, Any]) -> int:
    """How many agents a line has room for, whichever they are."""
    listed = {name: fields[name] for name in ("to", "base_ranks") if name in fields}
    alone = len(encode(cast(ToAgent, {**fields, **{name: [] for name in listed}})))
    each = sum(len(f"{max(numbers, default=0)},") for numbers in listed.values())
    return max(1, (MAX_BYTES - alone) // each)
