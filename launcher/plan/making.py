"""The plan of a job on a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from launcher.plan.batch import make_batch
from launcher.plan.entry import make_entry
from launcher.plan.model import VERSION, Cluster, Entry, Machine, Node, Plan, World
from launcher.plan.world import make_world
from launcher.rundir import CODE, PLACEHOLDER
from launcher.spec import Job
from launcher.topology import Share, shares

PLAIN_PORT = 29500
"""Of a rendezvous by hand, as torchrun's own default: what launcher starts itself takes a free one."""


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
        at_a_time=at_a_time(job, cluster),
        bind=job.resources.bind == "auto" and cluster.backend != "local",
    )


def at_a_time(job: Job, cluster: Cluster) -> int | None:
    """Trainings of a sweep that each wait for nodes of their own."""
    if job.sweep is None or cluster.at_a_time is None:
        return None
    if job.sweep.parallel != "auto":
        return job.sweep.parallel
    there = max(1, cluster.at_a_time)
    return min(there, (job.sweep.trials or there) * (job.sweep.folds or 1))


def interface(job: Job) -> dict[str, str]:
    """NCCL's and gloo's, where the job names one."""
    name = job.environment.interface
    return {} if name is None else {"NCCL_SOCKET_IFNAME": name, "GLOO_SOCKET_IFNAME": name}


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
    """The job with what `auto` came to: job.yaml as resolved. Of a sweep what its trials share is left to them."""
    own = ("resources.procs_per_node", "resources.threads", "resources.nodes") if job.sweep is not None else ()
    came_to = {path.removeprefix("resources."): value for path, value in plan.resolved.items() if path not in own}
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
