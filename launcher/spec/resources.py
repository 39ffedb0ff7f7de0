from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from launcher.spec.base import Frozen
from launcher.spec.values import Duration

Auto = Literal["auto"]


class Resources(Frozen):
    """Where the job runs, and on how much."""

    backend: Literal["auto", "local"] = "auto"
    """Where it executes; `auto` takes what is there."""
    nodes: Annotated[int, Field(ge=1, le=100_000)] = 1
    """Machines. With `backend: local`, more than one is a rehearsal: that many agents share this machine."""
    procs_per_node: Auto | Annotated[int, Field(ge=1, le=1024)] = "auto"
    """Ranks per node; `auto` is one per GPU, or one per two CPU cores where there is none."""
    device: Literal["auto", "cuda", "cpu"] = "auto"
    """`cpu` trains on the CPU even where there are GPUs, and makes `procs_per_node: auto` count cores."""
    threads: Auto | Annotated[int, Field(ge=1, le=1024)] = "auto"
    """CPU threads per rank; `auto` is the node's share of cores over its ranks, resolved once: threads change the last bits."""
    time: Duration | None = None
    """The queue's time limit; ignored where there is no queue."""
    agent: Literal["launcher", "torchrun"] = "launcher"
    """What starts the ranks of a node; with `torchrun`, restarts are torchrun's own."""
