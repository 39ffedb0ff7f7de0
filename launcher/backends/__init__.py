"""Where a run executes. Sibling modules with the same functions; `choose` picks one."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from launcher.backends.modules import Modules
from launcher.backends.waiting import Standing as Standing
from launcher.backends.waiting import Waiting
from launcher.plan import Cluster, Node, Plan
from launcher.rundir import RunDir
from launcher.spec import Job

if TYPE_CHECKING:
    from launcher.backends.check import Check


class Backend(Protocol):
    """What every module here provides."""

    def cluster(self, job: Job) -> Cluster:
        """What there is to run on, asked of the machine. Raises BackendError."""

    def start_agents(
        self, plan: Plan, nodes: Sequence[Node], log: Path
    ) -> Iterator[tuple[subprocess.Popen[bytes], Sequence[Node]]]:
        """Agents on some of the plan's nodes: processes with pipes to their standard streams, and the nodes that each serves.

        What they say on stderr is appended to `log`.
        """

    def shell(self, node: Node, job: str | None, command: Sequence[str], *, terminal: bool) -> tuple[str, ...]:
        """What runs a command on a node of a run that the queue knows as `job`, at the caller's terminal if there is one."""

    def check(self, job: Job, runs: Path) -> Iterator[Check]:
        """What is needed for such a job, in the order in which it would fail."""


class Queue(Protocol):
    """What a backend provides beside it where jobs wait for their nodes."""

    def examine(self, job: Job, plan: Plan) -> None:
        """Raises BackendError where such a job could never run."""

    def submit(self, run: RunDir, job: Job, plan: Plan, *, after: Sequence[str] = ()) -> str:
        """The job's number. It waits for the jobs `after` to end. Raises BackendError."""

    def script(self, job: Job, plan: Plan, run: RunDir) -> str:
        """What is handed to the queue."""

    def by_hand(self, run: RunDir, job: Job, plan: Plan) -> tuple[str, ...]:
        """The command that submits a prepared run. Raises OSError."""

    def again(self, run: RunDir, *, after: Sequence[str]) -> str:
        """Submits a run once more, from within its own job, to wait for further jobs. Raises BackendError."""

    def waiting(self, users: Iterable[int]) -> Mapping[str, Waiting]:
        """All their jobs that the queue knows, by number, with one question. Raises BackendError."""

    def dead_hosts(self) -> Mapping[str, str]:
        """Nodes that it hears nothing of, and its word for the state of each. Raises BackendError."""

    def take_back(self, number: str) -> None:
        """Takes a job out of the queue, unless it has begun meanwhile. Raises BackendError."""

    def allocated(self) -> int | None:
        """Nodes of the allocation that this process runs in, if any."""

    def own_job(self) -> str | None:
        """The number of the job that this process runs in, if any."""

    def own_array(self) -> str | None:
        """The number of the array that this process is a task of, if any."""

    def tasks_waiting(self, number: str) -> int:
        """Tasks of an array that have not begun. Raises BackendError."""

    def is_batch_script(self) -> bool:
        """Whether the job ends with this process."""

    def followed(self) -> str | None:
        """The job that this one was queued to follow, if any."""

    def as_given(self, job: Job, number: str) -> Job:
        """The job with what this queue job was given by hand, so that a successor gets the same. Raises BackendError."""

    def standing(self, job: str) -> Standing:
        """What the queue says of a job. Raises BackendError."""

    def succeed(self, run: RunDir, job: Job, plan: Plan, *, after: str) -> str:
        """Queues a job that goes on with the run once `after` has ended; its number. Raises BackendError."""

    def release(self, successor: str, job: Job, without: Sequence[str]) -> None:
        """It need not wait any longer, and gets none of these hosts. Raises BackendError."""

    def withdraw(self, successor: str) -> None:
        """Takes it out of the queue. Raises BackendError."""


BACKENDS: Modules[Backend] = Modules("local", "slurm", "hosts")
QUEUES: Modules[Queue] = Modules("slurm")


def present(name: str) -> str:
    if name != "auto":
        return name
    return "slurm" if ("SLURM_JOB_ID" in os.environ or shutil.which("sbatch")) and slurm_is_here() else "local"


def slurm_is_here() -> bool:
    from launcher.backends.slurm import is_here

    return is_here()


def of(job: Job) -> Backend:
    return BACKENDS[name_of(job)]


def name_of(job: Job) -> str:
    """Of the backend that a job asks for; with `auto` the hosts that it names, if it names any."""
    wants = job.resources
    return present("hosts" if wants.backend == "auto" and wants.hosts else wants.backend)


def array_of(plan: Plan) -> str | None:
    """The number of the array that the plan was submitted as, where this process is one of its tasks."""
    queue = QUEUES.get(plan.backend)
    return queue.own_array() if queue is not None and plan.at_a_time is not None else None


def on_all_nodes(job: Job) -> Job:
    """In an allocation of the user's own, where the command line names no number, a training takes all of it; a sweep's
    trials share it."""
    queue = QUEUES.get(name_of(job))
    if queue is None or (count := queue.allocated()) is None:
        return job
    wants = job.resources
    if job.sweep is not None or not isinstance(wants.nodes, int) or count <= wants.spares:
        return job
    return job.model_copy(update={"resources": wants.model_copy(update={"nodes": count - wants.spares})})
