from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from launcher.spec.base import SECTION, Frozen, Said
from launcher.spec.hosts import host_entry
from launcher.spec.slurm import Slurm
from launcher.spec.values import Duration

Auto = Literal["auto"]
Count = Annotated[int, Field(ge=1, le=100_000)]


class NodeRange(Frozen):
    """As many nodes as there are, within bounds."""

    min: Count
    """With fewer the training waits."""
    max: Count
    """With more the rest is left to others."""


class Resources(Frozen):
    """Where the job runs, and on how much."""

    backend: Literal["auto", "local", "slurm", "hosts"] = "auto"
    """Where it executes; `auto`: on `hosts` if they are given, on Slurm where this machine belongs to one, else on this one."""
    nodes: Count | Annotated[NodeRange, Said("a mapping of min and max", "{min: 2, max: 4}")] = 1
    """Machines, or {min, max}: a training that loses a node then goes on with fewer. Locally, more than one is a rehearsal."""
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
    bind: Literal["auto", "none"] = "auto"
    """Whether each rank is kept to its own share of the node's cores, near its GPU; `none` leaves it to the system."""
    spares: Annotated[int, Field(ge=0, le=1000)] = 0
    """Extra nodes kept idle: one of them takes the place of a node that is lost."""
    hosts: (
        Annotated[
            list[Annotated[str, AfterValidator(host_entry)]],
            Said("a list of [user@]host[:slots], or the path of a host file", "[gpu1, gpu2]"),
        ]
        | str
        | None
    ) = None
    """Machines to reach by ssh: a list of [user@]host[:slots], or a file with one of them in each line."""
    slurm: Annotated[Slurm, SECTION] = Field(default={}, validate_default=True)
    """What is asked of Slurm."""
    snapshot: bool = True
    """Under slurm and hosts: run from a copy of the code as it was at submission."""

    @property
    def fewest(self) -> int:
        """Nodes without which the training does not go on."""
        return self.nodes if isinstance(self.nodes, int) else self.nodes.min

    @property
    def most(self) -> int:
        return self.nodes if isinstance(self.nodes, int) else self.nodes.max
