"""What Slurm's commands say. Nothing here needs slurmdbd."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from launcher.backends.waiting import ACTIVE, PENDING, Waiting
from launcher.errors import BackendError

ANSWER_S = 30.0
LOOK_S = 10.0
"""For who only wants to see: longer than Slurm's own clients wait for a controller that is down."""
DOWN = "Slurm's controller does not answer. Jobs in the queue and running ones are not lost: try again later"
NO_REASON = ("", "None")
NO_HOST = ("", "n/a", "(null)")
TEXT = "%i|%T|%r|%B"
HABITS = ("SQUEUE_", "SINFO_", "SCONTROL_", "SCANCEL_", "SLURM_TIME_FORMAT")
"""Beginnings of variables by which a user has these commands tell of other jobs, or in another form, than is read here."""


def slurm(*argv: str, text: str | None = None, patience_s: float = ANSWER_S, env: Mapping[str, str] = os.environ) -> str:
    """A command's output. Raises BackendError where it fails, is not there or does not answer."""
    done = asked(argv, text, patience_s, env)
    if done.returncode != 0:
        raise BackendError(f"{argv[0]}: {complaint(done)}")
    return done.stdout


def asked(
    argv: tuple[str, ...], text: str | None = None, patience_s: float = ANSWER_S, env: Mapping[str, str] = os.environ
) -> subprocess.CompletedProcess[str]:
    """Raises BackendError where it is not there or does not answer."""
    try:
        env = without_habits(env, argv[0])
        return subprocess.run(argv, input=text, env=env, capture_output=True, text=True, errors="replace", timeout=patience_s,
                              check=False)  # fmt: skip
    except FileNotFoundError:
        raise BackendError(f"{argv[0]} is not here: this machine is no part of a Slurm cluster. Use --backend local") from None
    except OSError as error:
        raise BackendError(f"{argv[0]} cannot be started: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise BackendError(f"{argv[0]} did not answer within {patience_s:g} s: Slurm's controller may be down") from None


def without_habits(env: Mapping[str, str], command: str) -> dict[str, str]:
    """SQUEUE_ALL and its like stay: what is hidden from others may be where this user's jobs are. A job has all of sbatch's."""
    habits = ("SBATCH_WAIT",) if command == "sbatch" else HABITS
    return {name: value for name, value in env.items() if not name.startswith(habits) or name.endswith("_ALL")}


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """What a command said against it, in one line, without its own name in every sentence."""
    name = str(done.args[0])
    lines = [line.removeprefix(f"{name}: ").removeprefix("error: ").strip() for line in done.stderr.splitlines()]
    said = "; ".join(dict.fromkeys(line for line in lines if line and not line.startswith("Try ")))
    if "Unable to contact slurm controller" in said:
        said = f"{said}: {DOWN}"
    return said or f"ended with code {done.returncode}"


def is_here() -> bool:
    """Whether this machine is part of a cluster: its commands alone do not make it one. A controller that is down still does."""
    if "SLURM_JOB_ID" in os.environ:
        return True
    if shutil.which("sbatch") is None:
        return False
    with suppress(BackendError):
        return "configuration source" not in asked(("scontrol", "ping")).stderr
    return True


def scontrol(*argv: str) -> str:
    return slurm("scontrol", *argv)


def waiting(users: Iterable[int]) -> dict[str, Waiting]:
    """All jobs of these users that Slurm knows, by number: one question, whatever their number. Raises BackendError."""
    who = ("-t", "all", "-u", ",".join(map(str, sorted(users))))
    with suppress(ValueError, KeyError, TypeError):
        return read_json(json.loads(asked(("squeue", *who, "--json"), patience_s=LOOK_S).stdout))
    # Built without JSON, or older than that.
    return read_text(slurm("squeue", *who, "--noheader", f"--format={TEXT}", patience_s=LOOK_S))


def read_json(data: Mapping[str, Any]) -> dict[str, Waiting]:
    """22.05 writes a state as a word, 23.11 and later as a list of words. Raises KeyError where it is something else.

    Raises BackendError where the controller is down: squeue itself then ends well, with a list of errors and no jobs.
    """
    if errors := data.get("errors"):
        told = ", ".join(str(each.get("description") or each.get("error")) for each in errors)
        raise BackendError(f"squeue: {told}: {DOWN}")
    return by_number(from_json(job) for job in data["jobs"])


def from_json(job: Mapping[str, Any]) -> Waiting:
    state = job["job_state"]
    words = [state] if isinstance(state, str) else list(state)
    return Waiting(
        number=numbered(job), state=telling(words), reason=said(job.get("state_reason"), NO_REASON),
        host=said(job.get("batch_host"), NO_HOST),
    )  # fmt: skip


def numbered(job: Mapping[str, Any]) -> str:
    """Of an array's task `123_4`, as %i has it; of all those that have not begun `123_[5-9]`."""
    array, task = plain(job.get("array_job_id")), plain(job.get("array_task_id"))
    if not array:
        return str(job["job_id"])
    return f"{array}_[{job['array_task_string']}]" if job.get("array_task_string") else f"{array}_{task}"


def plain(value: Any) -> int | None:
    """A number, which later versions wrap: `{"set": true, "infinite": false, "number": 4}`."""
    found = value.get("number") if isinstance(value, Mapping) and value.get("set") else value
    return found if isinstance(found, int) else None


def by_number(jobs: Iterable[Waiting]) -> dict[str, Waiting]:
    """An array stands under its own number, too: it runs where any of its tasks does, else it waits where any does."""
    found = {job.number: job for job in jobs}
    for job in list(found.values()):
        array, _, task = job.number.partition("_")
        before = found.get(array)
        if task and (before is None or (job.runs, job.waits) > (before.runs, before.waits)):
            found[array] = replace(job, number=array, host=None)
    return found


def telling(words: list[str]) -> str:
    """Of `RUNNING, COMPLETING` or `PENDING, REQUEUED` the word that tells whether it waits, runs or is over."""
    for kind in (PENDING, ACTIVE):
        if hit := [word for word in words if word in kind]:
            return hit[0]
    return words[0]


def read_text(text: str) -> dict[str, Waiting]:
    return by_number(from_text(text))


def from_text(text: str) -> Iterator[Waiting]:
    for line in text.splitlines():
        number, state, reason, host = line.split("|")
        yield Waiting(number=number, state=state, reason=said(reason, NO_REASON), host=said(host, NO_HOST))


def said(word: str | None, nothing: tuple[str, ...]) -> str | None:
    return None if word is None or word in nothing else word


def dead_hosts() -> dict[str, str]:
    """Nodes that do not respond, and Slurm's word for the state of each. Raises BackendError."""
    told = slurm("sinfo", "--dead", "--Node", "--noheader", "--format=%N|%T", patience_s=LOOK_S)
    return {host: state.rstrip("*") for host, state in (line.split("|") for line in told.splitlines())}


def take_back(number: str) -> None:
    """Takes a job out of the queue, unless it has begun meanwhile. Raises BackendError."""
    slurm("scancel", "--quiet", "--state=PENDING", number, patience_s=LOOK_S)
