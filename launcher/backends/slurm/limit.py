"""How long this job may still run, and whether somebody is pushing it out: what scontrol says of it."""

from __future__ import annotations

import os
import re
from datetime import datetime

from launcher.backends.slurm.queue import slurm
from launcher.backends.waiting import Standing
from launcher.protocol import GIVEN_UP

FIELD = re.compile(r"(?:^|\s)([A-Za-z/:]+)=(\S+)")
NOTHING = ("(null)", "N/A", "Unknown", "None", "UNLIMITED", "INVALID")


def standing(job: str) -> Standing:
    """Raises BackendError."""
    return parse(slurm("scontrol", "show", "job", "-o", job))


def parse(text: str) -> Standing:
    """`scontrol show job -o`; its times are local."""
    fields = fields_of(text)
    state = fields.get("JobState", "")
    return Standing(
        state=state,
        began=moment(fields.get("StartTime")),
        ends=moment(fields.get("EndTime")) if state == "RUNNING" and "TimeLimit" in fields else None,
        preempted=moment(fields.get("PreemptTime")) is not None or state == "PREEMPTED",
        given_up=fields.get("Comment") == GIVEN_UP,
    )


def fields_of(text: str) -> dict[str, str]:
    """Of one job, as `scontrol show job -o` tells them, less those that say nothing."""
    return {name: value for name, value in FIELD.findall(text) if value not in NOTHING}


def moment(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def own_job() -> str | None:
    """The job that this process runs in, if any; of a task of an array `123_4`, which Slurm's commands take as well."""
    if (number := own_array()) is not None:
        return f"{number}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ.get("SLURM_JOB_ID")


def own_array() -> str | None:
    """The number of the array that this process is a task of, if it has the task for itself."""
    return os.environ.get("SLURM_ARRAY_JOB_ID") if is_batch_script() else None


def is_batch_script() -> bool:
    """Whether this process has taken the batch shell's place: then nothing is left of the job when it ends.

    In salloc, and in a script of the user's own that goes on afterwards, it has not.
    """
    return os.environ.get("SLURM_TASK_PID") == str(os.getpid()) and os.environ.get("ENVIRONMENT") == "BATCH"
