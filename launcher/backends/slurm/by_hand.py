"""What a job that was submitted by hand was given, as fields of the training's own job: the jobs that follow it get the same."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from launcher.backends.slurm.limit import fields_of
from launcher.backends.slurm.queue import scontrol
from launcher.errors import BackendError
from launcher.spec import Job

TYPED = {"partition": "Partition", "account": "Account", "qos": "QOS", "mem": "MinMemoryNode", "constraint": "Features",
         "nodelist": "ReqNodeList", "exclude": "ExcNodeList", "reservation": "Reservation", "mail_user": "MailUser"}  # fmt: skip
VERBATIM = {"cpus-per-task": "CPUs/Task", "mem-per-cpu": "MinMemoryCPU", "gres": "TresPerNode", "gpus": "TresPerJob",
            "licenses": "Licenses"}  # fmt: skip
"""Options of sbatch that are no field of ours, and what `scontrol show job` calls them."""
KIND = re.compile(r"\bgres[:/]")


def as_given(job: Job, number: str) -> Job:
    """`number`: the queue job that this process runs in. Raises BackendError."""
    told = scontrol("show", "job", "-o", number)
    try:
        return described(job, fields_of(told))
    except ValueError as error:
        raise BackendError(f"what Slurm says of job {number} is not understood: {error}") from None


def described(job: Job, fields: Mapping[str, str]) -> Job:
    fields = {**fields, **{name: megabytes(fields[name]) for name in ("MinMemoryNode", "MinMemoryCPU") if name in fields}}
    slurm = job.resources.slurm.model_dump()
    slurm |= {name: fields.get(field) for name, field in TYPED.items()}
    slurm["extra"] = [*slurm["extra"], *verbatim(fields)]
    if "TresPerNode" in fields:
        slurm["gpus_per_node"] = None  # one of the two could contradict the other
    resources: dict[str, Any] = {**job.resources.model_dump(), "slurm": slurm, "time": duration(fields.get("TimeLimit"))}
    return job.model_copy(update={"resources": type(job.resources).model_validate(resources)})


def verbatim(fields: Mapping[str, str]) -> list[str]:
    given = {name: fields[field] for name, field in VERBATIM.items() if field in fields}
    if "gres" in given:
        given["gres"] = KIND.sub("", given["gres"])
    if "gpus" in given:
        given["gpus"] = KIND.sub("", given["gpus"]).removeprefix("gpu:")
    alone = ["--exclusive"] if fields.get("OverSubscribe") == "NO" else []
    return [*(f"--{name}={value}" for name, value in given.items()), *alone]


def megabytes(size: str) -> str:
    """`1.50G` as `1536M`: sbatch reads whole numbers only."""
    number, unit = (size[:-1], size[-1]) if size[-1] in "KMGT" else (size, "M")
    return f"{math.ceil(float(number) * 1024 ** 'KMGT'.index(unit) / 1024)}M"


def duration(limit: str | None) -> str | None:
    """Slurm's `1-02:00:00` as `26:00:00`."""
    if limit is None:
        return None
    days, _, rest = limit.rpartition("-")
    hours, minutes, seconds = rest.split(":")
    return f"{int(days or 0) * 24 + int(hours)}:{minutes}:{seconds}"
