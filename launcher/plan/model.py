"""A plan and its parts, and how it stands in plan.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from launcher.errors import BackendError
from launcher.rundir import RunDir, read_json
from launcher.topology import Share, Topology

VERSION = 1
"""Of plan.json."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A node as its backend sees it."""

    host: str
    address: str
    """Name or address under which the other nodes reach it."""
    cpus: tuple[int, ...]
    gpus: tuple[str, ...] = ()
    slots: int | None = None
    """Ranks that it takes by its owner's word; None leaves it to its GPUs and cores."""
    agent: tuple[str, ...] = ()
    """The command that starts its agent; empty: the interpreter alone."""
    env: Mapping[str, str] = field(default_factory=dict)
    """What ranks need there and nowhere else."""
    topology: Topology | None = None
    """Where it is known beforehand; elsewhere the agent looks."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What there is to run on, as far as a plan needs to know it."""

    backend: str
    machines: tuple[Machine, ...]
    python: str
    """The interpreter on the nodes."""
    outside: str | None = None
    """The supervisor's interpreter, where agents run in a container and it does not."""
    rehearsal: bool = False
    """Several nodes that are shares of one machine."""
    provisional: bool = False
    """What was asked of a queue, not what it gave: the supervisor makes the plan anew once it is there."""
    carrier: tuple[str, ...] = ()
    """What stands before an agent's command where one process starts many: srun and its options."""
    at_a_time: int | None = None
    """Of a sweep in a queue: how many trainings its nodes have room for at a time."""


@dataclass(frozen=True, kw_only=True)
class World:
    nodes: int
    """That take part; spares come on top."""
    procs_per_node: int
    world_size: int
    threads: int
    device: Literal["cpu", "cuda"]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """global = ranks x micro-batch x accumulation, where the shares are even."""

    size: int
    per_rank: int
    """The largest share of a rank."""
    micro: int
    accumulation: int
    samples: int | None
    steps_per_epoch: int | None
    steps: int | None
    """Of the whole run; None where the data's length is not known before it is loaded."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What a rank executes."""

    kind: Literal["worker", "script", "module", "program"]
    target: str
    argv: tuple[str, ...]
    """What follows argv[0]."""
    cwd: str
    preload: tuple[str, ...]
    stop_grace_s: float
    engine: Literal["launcher", "torchrun"]
    max_restarts: int


@dataclass(frozen=True, kw_only=True)
class Node:
    index: int
    host: str
    address: str
    argv: tuple[str, ...]
    """The agent's command."""
    env: Mapping[str, str]
    cpus: tuple[int, ...] | None
    """Cores that the agent binds itself to; None leaves it all."""
    local_world_size: int
    binding: tuple[Share, ...] | None = None
    """Cores of each rank, where the machine is known beforehand."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    version: int
    name: str
    backend: str
    rehearsal: bool
    world: World
    batch: Batch | None
    entry: Entry
    env: Mapping[str, str]
    """What the ranks' environment has over the agent's; ${env:NAME} is read on the node."""
    supervisor: tuple[str, ...]
    torchrun: tuple[str, ...]
    """The plain line that does the same without launcher's agents (of each node: `torchrun_on`)."""
    nodes: tuple[Node, ...]
    files: tuple[str, ...]
    resolved: Mapping[str, Any]
    """Fields that were `auto`, and what they came to."""
    lost_after_s: float
    carrier: tuple[str, ...] = ()
    provisional: bool = False
    hang_timeout_s: float = 600.0
    at_a_time: int | None = None
    """Of a sweep in a queue: how many tasks of its array run at a time, each on nodes of its own."""
    bind: bool = False
    """Whether the agents are to find cores for each rank, where the nodes do not say them."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        batch = data["batch"]
        nested = {
            "world": World(**data["world"]),
            "batch": Batch(**batch) if batch else None,
            "entry": Entry(**{**data["entry"], **tuples(data["entry"], "argv", "preload")}),
            "nodes": tuple(Node(**{**node, **tuples(node, "argv", "cpus"), "binding": binding(node)}) for node in data["nodes"]),
        }
        return cls(**{**data, **nested, **tuples(data, "supervisor", "torchrun", "files", "carrier")})

    def filled(self, run: RunDir) -> Plan:
        """With the run directory in the commands that start agents: a container's mounts name it."""
        nodes = tuple(replace(node, argv=tuple(map(run.fill, node.argv))) for node in self.nodes)
        return replace(self, nodes=nodes, carrier=tuple(map(run.fill, self.carrier)))

    def torchrun_on(self, index: int) -> tuple[str, ...]:
        """The plain line of one node: where there are several, each has to be told which it is."""
        if self.world.nodes == 1 or self.rehearsal:
            return self.torchrun
        return (*self.torchrun[:3], f"--node-rank={index}", *self.torchrun[3:])

    def entry_command(self) -> tuple[str, ...]:
        """The entry as a person would type it after `python`."""
        flag = {"worker": ("-m",), "module": ("-m",), "script": (), "program": ()}[self.entry.kind]
        return (*flag, self.entry.target, *self.entry.argv)


def tuples(data: Mapping[str, Any], *names: str) -> dict[str, tuple[Any, ...] | None]:
    return {name: None if data[name] is None else tuple(data[name]) for name in names}


def binding(node: Mapping[str, Any]) -> tuple[Share, ...] | None:
    told = node.get("binding")
    return None if told is None else tuple(map(tuple, told))


def read_plan(run: RunDir) -> Plan:
    """Raises BackendError where the directory is not one that launcher prepared."""
    data = read_json(run.plan)
    if data is None:
        raise BackendError(f"{run.path} holds no plan.json: it is not a run directory, or this machine does not see it")
    if data.get("version") != VERSION:
        raise BackendError(f"{run.plan} is of another version of launcher ({data.get('version')}, this one writes {VERSION})")
    try:
        return Plan.from_json(data)
    except (TypeError, KeyError) as error:
        raise BackendError(f"{run.plan} is not a plan that launcher wrote: {error}") from None
