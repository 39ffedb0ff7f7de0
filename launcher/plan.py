"""What will be executed, as plain data: a pure function of the job and the cluster. It asks the machine nothing.

The run directory stands as `{run_dir}` in every string, so that a run can be moved and the plan printed before it exists.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from launcher.errors import BackendError
from launcher.rundir import CODE, PLACEHOLDER, RunDir, read_json
from launcher.spec import Job
from launcher.spec.catalogue import CATALOGUE, Kind
from launcher.spec.data import Data
from launcher.spec.target import Target
from launcher.spec.train import Train
from launcher.topology import Share, Topology, shares

VERSION = 1
"""Of plan.json."""
WORKER = "launcher.worker"
PLAIN_PORT = 29500
"""Of a rendezvous by hand, as torchrun's own default: what launcher starts itself takes a free one."""
CORES_PER_RANK = 2
"""Without a GPU. One rank per core was measured slower, and a busy neighbour then stalls every rank."""


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
    """The command that starts its agent, where that is not simply the interpreter."""
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


def make_plan(job: Job, cluster: Cluster) -> Plan:
    """Raises BackendError where the cluster cannot hold the job."""
    world = make_world(job, cluster)
    copied = job.resources.snapshot and cluster.backend != "local"
    entry = make_entry(job, f"{PLACEHOLDER}/{CODE}" if copied else job.workdir)
    threads = {"OMP_NUM_THREADS": str(world.threads)}
    return Plan(
        version=VERSION,
        name=job.name,
        backend=cluster.backend,
        rehearsal=cluster.rehearsal,
        world=world,
        batch=make_batch(job.train, world) if job.train else None,
        entry=entry,
        env={**threads, **interface(job), **job.env},
        supervisor=(cluster.outside or cluster.python, "-P", "-m", "launcher", "supervise", PLACEHOLDER),
        torchrun=torchrun_line(entry, world, cluster),
        nodes=tuple(make_nodes(job, world, cluster)),
        files=("job.yaml", "plan.json", "provenance.json", "events.jsonl"),
        resolved=dict(resolved(job, world, cluster)),
        lost_after_s=job.retry.lost_after.seconds,
        carrier=cluster.carrier,
        provisional=cluster.provisional,
        hang_timeout_s=job.retry.hang_timeout.seconds,
        bind=job.resources.bind == "auto" and cluster.backend != "local",
    )


def make_world(job: Job, cluster: Cluster) -> World:
    smallest_gpus = min(len(machine.gpus) for machine in cluster.machines)
    cores = min(len(machine.cpus) for machine in cluster.machines)
    wants = job.resources
    if wants.device == "cuda" and smallest_gpus == 0:
        without = next(machine.host for machine in cluster.machines if not machine.gpus)
        raise BackendError(
            f"resources.device asks for cuda, but {without} has no GPU for this job. Write device: auto to train on the CPU"
        )
    device: Literal["cpu", "cuda"] = "cuda" if smallest_gpus and wants.device != "cpu" else "cpu"
    room = min(places(machine, device) for machine in cluster.machines)
    if job.train and job.train.parallel != "ddp":
        room = min(room, 1)
    procs = room if wants.procs_per_node == "auto" else wants.procs_per_node
    if device == "cuda" and job.train and procs > smallest_gpus:
        raise BackendError(
            f"{procs} ranks per node want a GPU each, and there are {smallest_gpus}. "
            f"Write procs_per_node: {smallest_gpus}, or device: cpu"
        )
    threads = wants.threads if wants.threads != "auto" else max(1, cores // procs)
    nodes = len(cluster.machines) - wants.spares
    return World(nodes=nodes, procs_per_node=procs, world_size=nodes * procs, threads=threads, device=device)


def places(machine: Machine, device: str) -> int:
    """Ranks that a machine takes."""
    if machine.slots is not None:
        return machine.slots
    return len(machine.gpus) if device == "cuda" else max(1, len(machine.cpus) // CORES_PER_RANK)


def make_batch(train: Train, world: World) -> Batch:
    data = train.data
    per_rank = math.ceil(data.batch_size / world.world_size)
    micro = per_rank if data.micro_batch_size == "auto" else min(data.micro_batch_size, per_rank)
    samples = known_samples(data)
    per_epoch = None if samples is None else steps_per_epoch(train, samples)
    steps = train.max_steps if train.max_steps is not None else None if per_epoch is None else per_epoch * (train.epochs or 0)
    return Batch(size=data.batch_size, per_rank=per_rank, micro=micro, accumulation=math.ceil(per_rank / micro),
                 samples=samples, steps_per_epoch=per_epoch, steps=steps)  # fmt: skip


def steps_per_epoch(train: Train, samples: int) -> int:
    """Optimizer steps in one pass over `samples`."""
    data = train.data
    steps = samples // data.batch_size if data.drop_last else math.ceil(samples / data.batch_size)
    return min(steps, train.limit_batches) if train.limit_batches else steps


def known_samples(data: Data) -> int | None:
    """Of an epoch, where the job alone tells."""
    entry = CATALOGUE.get(("data", data.train.target))
    samples = entry.samples(data.train.arguments) if entry and entry.samples else None
    if data.sampling is None:
        return samples if data.smote is None else None
    if data.sampling.target not in ("weighted", "balanced"):
        return None
    given: int | None = data.sampling.arguments.get("num_samples")
    return given or (samples if data.smote is None else None)


def interface(job: Job) -> dict[str, str]:
    """NCCL's and gloo's, where the job names one."""
    name = job.environment.interface
    return {} if name is None else {"NCCL_SOCKET_IFNAME": name, "GLOO_SOCKET_IFNAME": name}


def make_entry(job: Job, cwd: str) -> Entry:
    """`cwd`: the job's workdir, or its copy in the run directory."""
    engine, restarts = job.resources.agent, job.retry.max_restarts
    if job.train:
        return Entry(kind="worker", target=WORKER, argv=(PLACEHOLDER,), cwd=cwd, preload=preloads(job.train), stop_grace_s=30.0,
                     engine=engine, max_restarts=restarts)  # fmt: skip
    run = job.run
    assert run is not None
    kind: Literal["script", "module", "program"]
    if run.script is not None:
        kind, target, args = "script", str(Path(cwd) / run.script), run.args
    elif run.module is not None:
        kind, target, args = "module", run.module, run.args
    else:
        assert run.program is not None
        kind, target, args = "program", run.program[0], [*run.program[1:], *run.args]
    preload = () if kind == "program" else ("torch", "torch.distributed")
    return Entry(kind=kind, target=target, argv=tuple(args), cwd=cwd, preload=preload, stop_grace_s=run.stop_grace.seconds,
                 engine=engine, max_restarts=restarts)  # fmt: skip


def targets(train: Train) -> Iterator[tuple[Kind, Target]]:
    """Every target of a training with its kind."""
    data = train.data
    single: list[tuple[Kind, Target | None]] = [
        ("model", train.model), ("loss", train.loss), ("optimizer", train.optimizer), ("schedule", train.schedule),
        ("data", data.train), ("data", data.val), ("data", data.test), ("collate", data.collate),
        ("sampling", data.sampling), ("smote", data.smote),
    ]  # fmt: skip
    yield from ((kind, target) for kind, target in single if target is not None)
    yield from (("augment", target) for target in data.augment)
    yield from (("metric", target) for target in train.metrics)


def preloads(train: Train) -> tuple[str, ...]:
    """What the fork server imports once for all ranks and attempts. A user's own modules are left to the ranks (CUDA)."""
    needed = ["torch", "torch.distributed", "launcher.worker.train"]
    for kind, target in targets(train):
        entry = CATALOGUE.get((kind, target.target))
        needed += entry.needs if entry else ()
    return tuple(dict.fromkeys(needed))


def make_nodes(job: Job, world: World, cluster: Cluster) -> Iterator[Node]:
    for index, machine in enumerate(cluster.machines):
        shared = {"CUDA_VISIBLE_DEVICES": ",".join(machine.gpus)} if cluster.rehearsal and world.device == "cuda" else {}
        hidden = {"CUDA_VISIBLE_DEVICES": ""} if world.device == "cpu" and machine.gpus else {}
        yield Node(
            index=index, host=machine.host, address=machine.address,
            argv=machine.agent or (cluster.python, "-P", "-m", "launcher.agent", "--id", str(index)),
            env={**machine.env, **shared, **hidden}, cpus=machine.cpus if cluster.rehearsal else None,
            local_world_size=world.procs_per_node, binding=bound(job, world, machine),
        )  # fmt: skip


def bound(job: Job, world: World, machine: Machine) -> tuple[Share, ...] | None:
    """Nothing where a rank has all there is."""
    if machine.topology is None or job.resources.bind == "none":
        return None
    found = shares(machine.topology, world.procs_per_node, threads=world.threads)
    return None if found is None or len(found[0]) == machine.topology.cpus else found


def torchrun_line(entry: Entry, world: World, cluster: Cluster) -> tuple[str, ...]:
    """One line that trains the same directory with stock torchrun (on one machine; all ranks of a rehearsal on it)."""
    on_one_machine = world.nodes == 1 or cluster.rehearsal
    where = (
        ("--standalone", f"--nproc-per-node={world.world_size}")
        if on_one_machine
        else (
            f"--nnodes={world.nodes}",
            f"--nproc-per-node={world.procs_per_node}",
            f"--master-addr={cluster.machines[0].address}",
            f"--master-port={PLAIN_PORT}",
        )
    )
    flag = {"worker": ("-m",), "module": ("-m",), "script": (), "program": ("--no-python",)}[entry.kind]
    return (cluster.python, "-m", "torch.distributed.run", *where, *flag, entry.target, *entry.argv)


def settle(job: Job, plan: Plan) -> Job:
    """The job with what `auto` came to: job.yaml as resolved."""
    came_to = {path.removeprefix("resources."): value for path, value in plan.resolved.items()}
    return job.model_copy(update={"resources": job.resources.model_copy(update=came_to)})


def unsettle(job: Job, plan: Plan) -> Job:
    """The job as the user wrote it, for a resume on another world: what was `auto` is `auto` again."""
    automatic = {path.removeprefix("resources."): "auto" for path in plan.resolved if path != "resources.nodes"}
    return job.model_copy(update={"resources": job.resources.model_copy(update=automatic)})


def resolved(job: Job, world: World, cluster: Cluster) -> Iterator[tuple[str, Any]]:
    if job.resources.backend == "auto":
        yield "resources.backend", cluster.backend
    if cluster.provisional:
        return
    if job.resources.hosts and "nodes" not in job.resources.model_fields_set:
        yield "resources.nodes", world.nodes
    if job.resources.procs_per_node == "auto":
        yield "resources.procs_per_node", world.procs_per_node
    if job.resources.threads == "auto":
        yield "resources.threads", world.threads
