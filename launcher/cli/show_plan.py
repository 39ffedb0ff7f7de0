"""A plan as a person wants to read it: a pure function to text."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from launcher.backends import QUEUES
from launcher.backends.local import usable_cpus
from launcher.cli.terminal import print_json, shown_path
from launcher.plan import Batch, Node, Plan, World
from launcher.references import REFERENCE, referred
from launcher.rundir import PLACEHOLDER, RunDir
from launcher.spec import Job

NODES_SHOWN = 8
SECRET = re.compile(r"(?:^|_)(?:API_?KEY|KEY|TOKEN|SECRET|PASSWORD|PASSWD)(?:_|$)", re.IGNORECASE)
"""Names of what is mostly a secret."""
NOWHERE = "/run-dir"
"""In the place of a run directory that does not exist yet."""
ANEW = "the plan is made anew on the nodes that the queue gives: ranks per node that are auto, cores and addresses with it"
Row = tuple[str, str]


def show(plan: Plan, job: Job, runs: Path, *, as_json: bool) -> None:
    if as_json:
        print_json(plan.to_json())
    else:
        print(render(plan, job, caller=os.environ, runs=shown_path(runs)))


def prepared(run: RunDir, plan: Plan, job: Job, *, as_json: bool) -> None:
    """The commands that would start it, each to be pasted into a shell."""
    for note in notes(job, plan):
        print(f"note: {note}", file=sys.stderr)
    commands = dict(starts(run, plan, job))
    if as_json:
        print_json({"id": run.id, "path": str(run.path), "commands": commands})
        return
    print(f"{shown_path(run.path)} is prepared, nothing was started. Any of these does:")
    print(f"  launch resume {shlex.quote(str(run.path))}")
    for name, command in commands.items():
        _, where, host = name.partition(" on ")
        print(f"  on {host}: {command}" if where else f"  {command}")


def starts(run: RunDir, plan: Plan, job: Job) -> Iterator[Row]:
    """Where it is to wait in a queue, the line that puts it there: the others need the nodes that the queue gives."""
    if plan.provisional:
        yield "sbatch", shlex.join(QUEUES[plan.backend].by_hand(run, job, plan))
        return
    yield "supervise", shlex.join(map(run.fill, plan.supervisor))
    if job.sweep is not None:  # whose trials are trainings of their own
        return
    if plan.world.nodes == 1 or plan.rehearsal:
        yield "torchrun", plain_torchrun(plan, run.fill)
        return
    for node in plan.nodes[: plan.world.nodes]:
        yield f"torchrun on {node.host}", plain_torchrun(plan, run.fill, node.index)


def render(plan: Plan, job: Job, *, caller: Mapping[str, str], runs: str) -> str:
    """What would be executed; nothing of it is."""
    rows = [
        ("world", world(plan)),
        *batch(plan.batch, job, plan.world),
        *(("resolved", f"{path}: {value} (was auto)") for path, value in plan.resolved.items()),
        ("entry", shlex.join(plan.entry_command())),
        ("", f"in {plan.entry.cwd}"),
        ("files", f"{runs}/<run-id>/ (below: {PLACEHOLDER})"),
        ("", " ".join(plan.files)),
        ("supervisor", shlex.join(plan.supervisor)),
        *nodes(plan, caller),
        *(script(plan, job) if plan.provisional else [("or, plain", plain_torchrun(plan))]),
        *([("note", ANEW)] if plan.provisional else []),
        *(("note", text) for text in notes(job, plan)),
    ]
    return "\n".join([f"{plan.name}: what would run with backend {plan.backend}", "", *labels(rows)])


def script(plan: Plan, job: Job) -> Iterator[Row]:
    """What is handed to the queue, as it stands but for the run directory."""
    text = QUEUES[plan.backend].script(job, plan, RunDir(NOWHERE)).replace(NOWHERE, PLACEHOLDER)
    yield from (("script", line) for line in text.rstrip().split("\n"))
    yield "agents", shlex.join(plan.carrier)


def labels(rows: Sequence[Row]) -> list[str]:
    """A label is not repeated in the rows below it."""
    width = max(len(label) for label, _ in rows)
    shown = [("" if number and label == rows[number - 1][0] else label, text) for number, (label, text) in enumerate(rows)]
    return [f"{label:<{width}}  {text}".rstrip() for label, text in shown]


def world(plan: Plan) -> str:
    size = plan.world
    return (
        f"{counted(size.nodes, 'node')} x {counted(size.procs_per_node, 'rank')} = {counted(size.world_size, 'rank')} "
        f"on {size.device}, {counted(size.threads, 'thread')} each"
    )


def batch(plan: Batch | None, job: Job, size: World) -> Iterator[Row]:
    if plan is None:
        return
    ranks = size.world_size
    if plan.size == ranks * plan.micro * plan.accumulation:
        yield "batch", f"{plan.size} = {counted(ranks, 'rank')} x micro-batch {plan.micro} x accumulation {plan.accumulation}"
    else:
        yield (
            "batch",
            (
                f"{plan.size} over {counted(ranks, 'rank')}: up to {plan.per_rank} each, "
                f"in micro-batches of up to {plan.micro} x accumulation {plan.accumulation}"
            ),
        )
    yield "steps", steps(plan, job)


def steps(plan: Batch, job: Job) -> str:
    assert job.train is not None
    per_epoch = f"{plan.samples} samples, {plan.steps_per_epoch} steps per epoch" if plan.samples is not None else None
    if job.train.epochs is not None and plan.steps is not None:
        return f"{per_epoch}, {plan.steps} steps in {counted(job.train.epochs, 'epoch')}"
    if job.train.epochs is not None:
        return f"{counted(job.train.epochs, 'epoch')}; how many steps that is, is known once the data is loaded"
    return ", ".join(part for part in (per_epoch, f"{plan.steps} steps in all") if part)


def nodes(plan: Plan, caller: Mapping[str, str]) -> Iterator[Row]:
    for node in plan.nodes[:NODES_SHOWN]:
        yield f"node {node.index}", where(node)
        yield from (("", text) for text in bindings(plan, node))
        yield "", shlex.join(node.argv)
        for name, value in {**plan.env, **node.env}.items():
            if caller.get(name) != value:
                yield "", f"{name}={shlex.quote(value)}"
    if (left := len(plan.nodes) - NODES_SHOWN) > 0:
        yield f"nodes {NODES_SHOWN}-{len(plan.nodes) - 1}", f"{left} more of the same kind (--json shows them)"


def where(node: Node) -> str:
    cores = "" if node.cpus is None else f", cores {spans(node.cpus)}"
    return f"{node.host}: {counted(node.local_world_size, 'rank')}{cores}"


def bindings(plan: Plan, node: Node) -> Iterator[str]:
    """Which cores each rank is kept to."""
    if node.binding is not None:
        yield "; ".join(f"local rank {rank}: {cores(share)}" for rank, share in enumerate(node.binding))
    elif plan.bind and node.local_world_size > 1:
        yield "each rank is kept to cores of its own, near its GPU: which ones, the node tells"


def cores(share: Sequence[int]) -> str:
    return f"core {share[0]}" if len(share) == 1 else f"cores {spans(share)}"


def notes(job: Job, plan: Plan) -> Iterator[str]:
    """What the user should know before it starts."""
    if plan.rehearsal:
        yield f"a rehearsal: {plan.world.nodes} nodes share this machine, its cores and GPUs divided between them"
    ranks, here = plan.world.world_size, len(usable_cpus())
    if plan.backend == "local" and plan.world.device == "cpu" and ranks > here:
        yield f"{ranks} ranks share {counted(here, 'core')}: fewer are faster (resources.procs_per_node: auto)"
    if job.resources.time is not None and plan.backend != "slurm":
        yield f"resources.time ({job.resources.time}) has no effect here: there is no queue to end the run"
    missing = sorted(referred(job.env.values()) - set(os.environ))
    if missing and plan.backend == "local":
        yield f"env names {', '.join(missing)}, not set here: the ranks would not start"
    for name in (name for name, value in job.env.items() if value and SECRET.search(name) and not REFERENCE.search(value)):
        yield (
            f"env.{name} is written into job.yaml and plan.json as it stands. If it is a secret, write {name}: ${{env:{name}}}, "
            "which is read where a rank starts and stored nowhere"
        )


def plain_torchrun(plan: Plan, fill: Callable[[str], str] = str, index: int = 0) -> str:
    """A line for a shell, with the folder and the environment that the ranks need; `fill` puts in the run directory."""
    env = {name: quoted(fill(value)) for name, value in {**plan.env, **plan.nodes[index].env}.items()}
    cwd = fill(plan.entry.cwd)
    beside = plan.entry.kind == "script" and Path(plan.entry.target).parent != Path(plan.entry.cwd)
    if beside:  # from where python would not import
        before = env.get("PYTHONPATH", '"${PYTHONPATH-}"')
        env["PYTHONPATH"] = f"{before}:{shlex.quote(cwd)}"
    command = " ".join(
        ["exec env", *(f"{name}={value}" for name, value in env.items()), shlex.join(map(fill, plan.torchrun_on(index)))]
    )
    return f"(cd {shlex.quote(cwd)} && {command})"


def quoted(value: str) -> str:
    """For a shell; a reference to the environment stays one, so that no secret is printed."""
    pieces = re.split(r"(\$\{env:\w+\})", value)
    return "".join(map(quoted_piece, filter(None, pieces))) or "''"


def quoted_piece(piece: str) -> str:
    match = REFERENCE.fullmatch(piece)
    return f'"${{{match[1]}}}"' if match else shlex.quote(piece)


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def spans(numbers: Sequence[int]) -> str:
    from launcher.cli.fold import named

    return named(numbers).split(" ", 1)[1]
