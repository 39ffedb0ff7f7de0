"""Shares of the machines for one trial at a time each, and the same shares of the agents, which stay warm from trial to trial."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, cast

from launcher import backends
from launcher.errors import UsageError
from launcher.plan import CORES_PER_RANK, Cluster, Node, Plan, make_plan
from launcher.protocol import ToAgent
from launcher.spec import Job
from launcher.spec.resources import NodeRange
from launcher.supervisor.pool import Agent, News, Pool

MOST_HOSTS = 100_000
"""More than anybody names: of a range of nodes all are taken that answer."""


def parallel(job: Job, *, begun: bool = False) -> int:
    """Trials at a time. Raises UsageError where more are asked for than fit, BackendError.

    `begun`: the sweep goes on with the room that there is; what it began with cannot change any more, and need not.
    """
    assert job.sweep is not None
    fits, wanted = room(job), job.sweep.parallel
    if wanted == "auto":
        return fits
    if wanted > fits and not begun:
        raise UsageError(f"sweep.parallel: {too_many(job, fits)}")
    return min(wanted, fits)


def refuse_too_many(spec: str | os.PathLike[str], overrides: Iterable[str], job: Job) -> None:
    """Raises SpecError where more trials at a time are asked for than fit, BackendError."""
    assert job.sweep is not None
    if job.sweep.parallel != "auto" and job.sweep.parallel > (fits := room(job)):
        from launcher.load.origins import problem_at

        raise problem_at(spec, tuple(overrides), ("sweep", "parallel"), too_many(job, fits))


def too_many(job: Job, fits: int) -> str:
    assert job.sweep is not None
    return (
        f"{job.sweep.parallel} trials at a time do not fit: there is room for {fits}, each on "
        f"{nodes_of_one(job)} node(s){' (spares included)' if job.resources.spares else ''}. Write parallel: {fits}, or auto"
    )


def nodes_of_one(job: Job) -> int:
    """That a trial has for itself: those that train, and its own spares."""
    return job.resources.fewest + job.resources.spares


def room(job: Job) -> int:
    """How many trials fit at a time: in a queue into its partition, in an allocation into what it holds. Raises BackendError."""
    whole = backends.of(job).cluster(job)
    queue = backends.QUEUES.get(whole.backend)
    if queue is not None:
        return max(1, (queue.allocated() or 0) // nodes_of_one(job) if whole.at_a_time is None else whole.at_a_time)
    if whole.backend == "local":
        return fitting(
            job, cores=sum(len(each.cpus) for each in whole.machines), gpus=sum(len(each.gpus) for each in whole.machines)
        )
    return max(1, len(cluster_of(job, 1, MOST_HOSTS).machines) // nodes_of_one(job))


def cluster_of(job: Job, fewest: int, most: int) -> Cluster:
    """So many nodes of what there is, spares among them; those that do not answer are left out. Raises BackendError."""
    wants = job.resources.model_copy(update={"nodes": NodeRange(min=fewest, max=most), "spares": 0})
    return backends.of(job).cluster(job.model_copy(update={"resources": wants}))


def fitting(job: Job, *, cores: int, gpus: int) -> int:
    """On this machine. What `procs_per_node: auto` would take is divided: the smallest trial has one rank."""
    wants = job.resources
    ranks = nodes_of_one(job) * (1 if wants.procs_per_node == "auto" else wants.procs_per_node)
    if gpus and wants.device != "cpu":
        return max(1, gpus // ranks)
    unsaid = CORES_PER_RANK if wants.procs_per_node == "auto" else 1
    return max(1, cores // (ranks * (unsaid if wants.threads == "auto" else wants.threads)))


def clusters(job: Job, count: int) -> list[Cluster]:
    """One for each of `count` trials at a time; their machines' agents are numbered throughout. Raises BackendError."""
    each = nodes_of_one(job)
    whole = cluster_of(job, each * count, each * count)
    shared = whole.backend == "local" and (count > 1 or each > 1)
    return [
        replace(whole, machines=whole.machines[number * each : (number + 1) * each], rehearsal=shared) for number in range(count)
    ]


class Slot:
    """One share. To the trial that has it, its agents count from 0."""

    def __init__(self, pool: Pool, first: int, cluster: Cluster) -> None:
        self.pool, self.first, self.cluster = pool, first, cluster
        self.size = len(cluster.machines)

    def plan(self, job: Job) -> Plan:
        return make_plan(job, self.cluster)

    @property
    def agents(self) -> dict[int, Agent]:
        ours = range(self.first, self.first + self.size)
        return {number - self.first: self.pool.agents[number] for number in ours if number in self.pool.agents}

    @property
    def free(self) -> bool:
        """Whether nothing is left of agents that were lost: their end would be told to the next trial as its own."""
        return not any(number in self.pool.leaving for number in range(self.first, self.first + self.size))

    def __contains__(self, agent: int) -> bool:
        return agent + self.first in self.pool

    def start(self, plan: Plan, nodes: Sequence[Node]) -> None:
        """Where an agent is there from the trial before, it serves this one too. Raises BackendError."""
        missing = [replace(node, index=node.index + self.first) for node in nodes if node.index not in self.agents]
        if missing:
            self.pool.start(plan, missing)

    def send(self, message: ToAgent) -> None:
        first = {"first": self.first} if message["kind"] in ("warm", "start") else {}
        self.pool.send(cast(ToAgent, {**message, "to": [agent + self.first for agent in message["to"]], **first}))

    def lose(self, agent: Agent, why: Any, text: str) -> None:
        self.pool.lose(agent, why, text)

    def own(self, news: News) -> News | None:
        """The news as the trial hears it; None where it is another slot's."""
        agent = news.agent - self.first
        return news._replace(agent=agent) if 0 <= agent < self.size else None
