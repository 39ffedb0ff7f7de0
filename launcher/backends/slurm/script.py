"""The batch script, as pure text: directives from typed fields, the site's lines, and the supervisor in the shell's place."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator
from pathlib import Path
from string import Template

from launcher.backends.slurm.allocation import SET_UP
from launcher.backends.slurm.array import tasks
from launcher.plan import Plan
from launcher.rundir import RunDir
from launcher.spec import Job

LEAD_S = 300
"""How long before the time limit Slurm warns; the supervisor itself trains on until its own, measured lead."""


def render(job: Job, plan: Plan, run: RunDir, template: str) -> str:
    return Template(template).substitute(
        directives="\n".join(f"#SBATCH {line}" for line in directives(job, run, at_a_time=plan.at_a_time)),
        setup="\n".join([*job.environment.setup, f"export {SET_UP}=1"]) if job.environment.setup else "# nothing to set up",
        supervisor=shlex.join(map(run.fill, plan.supervisor)),
    )


def directives(job: Job, run: RunDir, *, at_a_time: int | None = None) -> Iterator[str]:
    """`at_a_time`: tasks of an array; None: one job."""
    wants, slurm = job.resources, job.resources.slurm
    yield option("job-name", job.name)
    yield option("nodes", nodes(job))
    if wants.fewest == wants.most:  # of a range it makes Slurm give the fewest
        yield option("ntasks-per-node", 1)
    if slurm.gpus_per_node:
        yield option(slurm.gpu_option, f"{'gpu:' if slurm.gpu_option == 'gres' else ''}{slurm.gpus_per_node}")
    if slurm.cpus_per_proc:
        ranks = wants.procs_per_node if wants.procs_per_node != "auto" else slurm.gpus_per_node or 1
        yield option("cpus-per-task", ranks * slurm.cpus_per_proc)
    for name in ("mem", "partition", "account", "qos", "constraint", "nodelist", "exclude", "reservation"):
        if (value := getattr(slurm, name)) is not None:
            yield option(name, value)
    if slurm.mail_user is not None:
        yield option("mail-user", slurm.mail_user)
        yield option("mail-type", "BEGIN,END,FAIL")
    if wants.time is not None:
        yield option("time", minutes(wants.time.seconds))
        yield option("signal", f"B:USR1@{LEAD_S}")
    if at_a_time is not None:
        yield option("array", f"1-{tasks(at_a_time)}%{at_a_time}")
    yield option("output", str(run.logs).replace("%", "%%") + f"/slurm-{'%j' if at_a_time is None else '%A_%a'}.out")
    yield option("chdir", job.workdir)
    yield from ("--open-mode=append", "--no-requeue", "--no-kill", "--export=ALL")
    yield from slurm.extra


def option(name: str, value: object) -> str:
    """sbatch reads its lines with a shell's quotes, but for nothing else of a shell."""
    return f"--{name}={quoted(str(value))}"


def quoted(text: str) -> str:
    if shlex.quote(text) == text:
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def nodes(job: Job) -> str:
    least, most = (count + job.resources.spares for count in (job.resources.fewest, job.resources.most))
    return str(most) if least == most else f"{least}-{most}"


def minutes(seconds: float) -> str:
    """Slurm counts whole minutes: rounded up."""
    whole = math.ceil(seconds / 60)
    return f"{whole // 60:02}:{whole % 60:02}:00"


def template() -> str:
    package = Path(__file__).parents[2]
    inside = package / "starter" / "slurm"
    return ((inside if inside.is_dir() else package.parent / "slurm") / "job.sbatch").read_text()
