"""A run of two seconds through the whole machinery: what the checks before it could not see."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from launcher import backends
from launcher.backends.check import Check, fails, ok, warning
from launcher.cli.terminal import say, size
from launcher.errors import BackendError, LaunchError
from launcher.events import LIVE, summarize
from launcher.plan import Plan, make_plan
from launcher.prepare import prepare
from launcher.rundir import RunDir, locked, read_json
from launcher.spec import Job
from launcher.spec.retry import Retry
from launcher.spec.run import Run
from launcher.spec.values import Duration

MODULE = "launcher.worker.allreduce"
RESULT = "allreduce.json"
FOLDER = ".doctor"
"""Beside the runs, hidden: it makes no run of its own."""
TIME = Duration("5m")
SKEW_S = 2.0
POLL_S = 0.2
GONE_S = 10.0
"""A job that the queue no longer knows, and that left no word for so long, saw no run directory."""
MEND = "mend it, then: launch doctor --allreduce"


def prove(job: Job, runs: Path) -> Iterator[Check]:
    """On the nodes that the job would have. Waits for the queue; Ctrl-C takes it out of there."""
    job = proof_of(job)
    try:
        plan = make_plan(job, backends.of(job).cluster(job))
        run = prepare(job, plan, runs / FOLDER)
    except LaunchError as error:
        yield fails("all-reduce", str(error), MEND)
        return
    try:
        trouble = queued(run, job, plan) if plan.provisional else here(run)
        result = read_json(run.path / RESULT)
        if trouble is not None or result is None:
            yield fails("all-reduce", trouble or "its ranks ended, and left no result", MEND)
        else:
            yield from told(result, plan)
    finally:
        shutil.rmtree(run.path, ignore_errors=True)
        with suppress(OSError):  # another doctor's is still there
            (runs / FOLDER).rmdir()


def proof_of(job: Job) -> Job:
    """The same resources and environment, with another thing to do."""
    resources = job.resources.model_copy(update={"snapshot": False, "time": TIME if job.resources.time else None})
    retry = Retry(max_restarts=0, lost_after=job.retry.lost_after, when_time_is_up="stop")
    return job.model_copy(
        update={"name": "doctor", "train": None, "run": Run(module=MODULE), "resources": resources, "retry": retry}
    )


def here(run: RunDir) -> str | None:
    """Why it failed, or None."""
    from launcher.supervisor import supervise

    with locked(run):
        outcome = supervise(run, holding=True)
    return None if outcome.state == "done" else outcome.reason or outcome.state


def queued(run: RunDir, job: Job, plan: Plan) -> str | None:
    """Why it failed, or None."""
    try:
        number = backends.QUEUES[plan.backend].submit(run, job, plan)
    except BackendError as error:
        return str(error)
    try:
        return ended(run, number)
    finally:
        leave(run, number)


def leave(run: RunDir, number: str) -> None:
    """Once the job has ended: after its last word its supervisor still withdraws its successor, and writes so into the run."""
    from launcher.backends.slurm.queue import slurm

    if summarize(run).state not in ("done", "failed"):
        slurm("scancel", "--quiet", number)
    deadline = time.monotonic() + GONE_S
    while in_queue(number).partition(" ")[0] not in ("", "COMPLETING") and time.monotonic() < deadline:
        time.sleep(POLL_S)
    slurm("scancel", "--quiet", number)


def ended(run: RunDir, number: str) -> str | None:
    shown, gone_at = "", None
    while (summary := summarize(run)).state in LIVE or summary.state == "queued":
        waits = in_queue(number)
        if waits and waits != shown:
            say(f"job {number} is {waits}\n", sys.stderr)
            shown = waits
        gone_at = None if waits else gone_at or time.monotonic()
        if gone_at is not None and time.monotonic() - gone_at > GONE_S:
            folder = run.path.parent.parent
            return f"job {number} ended and left no word in {folder}: do its nodes see that folder? Choose another: --runs DIR"
        time.sleep(POLL_S)
    return None if summary.state == "done" else summary.reason or summary.state


def in_queue(number: str) -> str:
    """`PENDING (Resources)`, or nothing where it has ended."""
    from launcher.backends.slurm.queue import slurm

    try:
        state, _, reason = slurm("squeue", "-h", "-j", number, "-o", "%T|%r").strip().partition("|")
    except BackendError:
        return ""
    return state + (f" ({reason})" if reason not in ("", "None") else "")


def told(result: dict[str, Any], plan: Plan) -> Iterator[Check]:
    ranks, world = result["ranks"], plan.world
    hosts = list(dict.fromkeys(each["host"] for each in ranks))
    yield contract(ranks, plan)
    yield ok("shared", f"the run directory is seen by {' '.join(hosts)}, all of whose ranks got their orders from it")
    if not result["right"]:
        yield fails("all-reduce", "the sum is wrong", "this is broken hardware or a broken NCCL: try other nodes")
    elif len(ranks) == 1:
        yield ok("all-reduce", "one rank: nothing to send")
    else:
        once_s = result["seconds"] / result["rounds"]
        speed = 2 * (len(ranks) - 1) / len(ranks) * result["bytes"] / once_s
        yield ok(
            "all-reduce",
            f"{size(result['bytes'])} over {len(ranks)} ranks in {1000 * once_s:.1f} ms: {size(speed)}/s of bus bandwidth",
        )
    skew_s = max(each["time"] for each in ranks) - min(each["time"] for each in ranks)
    if skew_s > SKEW_S:
        yield warning("clocks", f"of the nodes differ by {skew_s:.1f} s", "logs of several nodes will not fit: let NTP set them")
    elif world.nodes > 1:
        yield ok("clocks", f"of the nodes within {1000 * skew_s:.0f} ms")


def contract(ranks: Sequence[dict[str, Any]], plan: Plan) -> Check:
    """Every rank there once, and all of the same make."""
    wanted, there = list(range(plan.world.world_size)), [each["rank"] for each in ranks]
    if plan.provisional:
        wanted = list(range(len(there)))
    if there != wanted:
        return fails("ranks", f"{there}, not {wanted}", "this is a bug in launcher: please report it")
    for key in ("torch", "python"):
        made = {each["host"]: each[key] for each in ranks}
        if len(set(made.values())) > 1:
            found = ", ".join(f"{host} has {key} {version}" for host, version in made.items())
            return fails("ranks", found, "set environment.python to one interpreter that all nodes have")
    devices = [each["device"] for each in ranks]
    if len({each.partition(":")[0] for each in devices}) > 1:
        return fails(
            "ranks", f"on different devices: {', '.join(devices)}", "see nvidia-smi on those on the CPU, or write device: cpu"
        )
    nodes = len({each["host"] for each in ranks})
    return ok("ranks", f"{len(ranks)} on {nodes} host{'s' * (nodes > 1)}, each once, on {devices[0]}, torch {ranks[0]['torch']}, "
                       f"{ranks[0]['threads']} thread{'s' * (ranks[0]['threads'] > 1)}")  # fmt: skip
