"""The Python face: run, submit, sweep, open. A run is supervised by a process of its own, as with `launch --detach`."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher import backends
from launcher.diagnosis import Verdict, verdicts_of
from launcher.errors import BackendError, Cancelled, LaunchError, Problem, SpecError, Stopped, UsageError
from launcher.events import LIVE, State, Summary, ledger, record, summarize
from launcher.load import load_search
from launcher.plan import read_plan
from launcher.planning import planned
from launcher.prepare import prepare
from launcher.rundir import RunDir, json_lines, live, locked, owner, write_atomic
from launcher.runs import find_run, runs_folder
from launcher.standing import Look, standing

if TYPE_CHECKING:
    import optuna

POLL_S = 0.1
ASK_S = 1.0
"""Between two questions to a queue."""
LOCK_WAIT_S = 60.0
"""A supervisor takes its lock within a second; on a busy machine it may take longer."""

STARTED: list[subprocess.Popen[bytes]] = []
"""Supervisors that this process started: their parent has to take note of their end."""

Overrides = Mapping[str, object] | Sequence[str]


class Run:
    """A run directory and what can be asked of it."""

    def __init__(self, directory: RunDir) -> None:
        self.directory = directory

    def __repr__(self) -> str:
        return f"<Run {self.id}: {self.state}>"

    @property
    def id(self) -> str:
        return self.directory.id

    @property
    def path(self) -> Path:
        return self.directory.path

    @property
    def state(self) -> State:
        """queued, starting, running, restarting, stopping, done, failed, stopped or cancelled."""
        return standing(self.directory).state

    def metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl so far, one for each logged step."""
        return list(json_lines(self.directory.metrics))

    def diagnose(self) -> list[Verdict]:
        """What is wrong with it, in words, each with its evidence and the field to change; empty for a healthy run."""
        return verdicts_of(self.directory)

    def wait(self, timeout_s: float | None = None) -> Run:
        """Returns when the training is done.

        Raises Stopped, Cancelled, SpecError, BackendError or LaunchError where it ended otherwise, and TimeoutError.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while (state := self.state) in LIVE or state == "queued" or owner(self.directory) is not None:
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"run {self.id} is still {state} after {timeout_s:g} s")
            time.sleep(POLL_S if summarize(self.directory).state in LIVE else ASK_S)
        if state != "done":
            raise ended_otherwise(self.directory)
        return self

    def stop(self) -> None:
        """Asks for a save at the next step boundary and an end after it. Raises UsageError where nothing runs."""
        ask(self.directory, "stop")

    def cancel(self) -> None:
        """Asks for an end at once; nothing more is saved. Raises UsageError where nothing runs."""
        ask(self.directory, "cancel")


def run(
    spec: str | os.PathLike[str], *, nodes: int | None = None, backend: str = "auto", overrides: Overrides | None = None
) -> Run:
    """Trains what a job file says, and returns when it is done. Ctrl-C saves and stops it.

    Raises what `submit` and `Run.wait` raise.
    """
    submitted = submit(spec, nodes=nodes, backend=backend, overrides=overrides)
    try:
        return submitted.wait()
    except KeyboardInterrupt:
        ask(submitted.directory, "stop")
        while owner(submitted.directory) is not None:
            time.sleep(POLL_S)
        raise


def submit(
    spec: str | os.PathLike[str], *, nodes: int | None = None, backend: str = "auto", overrides: Overrides | None = None
) -> Run:
    """Starts what a job file says and returns at once; the run outlives the caller.

    Raises SpecError where the job is wrong, BackendError where it cannot run here, UsageError where what it names is not there.
    """
    asked = None if backend == "auto" else backend
    job, plan = planned(spec, nodes=nodes, backend=asked, overrides=as_set(overrides), runs=runs_folder())
    queue = backends.QUEUES[plan.backend] if plan.provisional else None
    if queue is not None:
        queue.examine(job, plan)
    directory = prepare(job, plan, runs_folder())
    if queue is not None:
        with locked(directory):
            queue.submit(directory, job, plan)
        return Run(directory)
    with locked(directory) as lock:
        start_detached(directory, lock=lock)
    return Run(directory)


def sweep(
    spec: str | os.PathLike[str],
    *,
    nodes: int | None = None,
    backend: str = "auto",
    overrides: Overrides | None = None,
    objective: Callable[..., float] | str | None = None,
) -> optuna.Study:
    """Runs a sweep to its end; Optuna's study of it. With `objective` it is over this function: fn(**parameters) -> number.

    Raises as `run` does, and UsageError where `nodes` or `backend` are given for a function, which is called here.
    """
    if objective is not None:
        if nodes is not None or backend != "auto":
            raise UsageError("objective: a Python function is called here and trains nothing: nodes and backend have no meaning")
        from launcher.search.objective import search_function

        asked = load_search(spec, overrides=as_set(overrides))
        folder = Path(f"{asked.name}.search").absolute()
        return search_function(objective, asked.sweep, seed=asked.seed, name=asked.name, folder=folder)
    from launcher.search.journal import study_of

    return study_of(run(spec, nodes=nodes, backend=backend, overrides=overrides).path)


def open(run: str | os.PathLike[str]) -> Run:  # noqa: A001  # the name that CONTRACTS promises
    """A run by its id, a unique beginning or end of it, its path, `last`, or a job's name. Raises UsageError."""
    return Run(find_run(os.fspath(run), runs_folder()))


def as_set(overrides: Overrides | None) -> list[str]:
    """`{"train.epochs": 3}` as `--set` has it; JSON is YAML, and keeps a string a string."""
    if isinstance(overrides, Mapping):
        return [f"{path}={json.dumps(value, ensure_ascii=False)}" for path, value in overrides.items()]
    return list(overrides or ())


def ask(directory: RunDir, what: str) -> str:
    """Leaves a request that the supervisor looks at every second; a run that waits in a queue is stopped by taking it out.

    Returns the state that it has now. Raises UsageError where nothing runs or waits, BackendError.
    """
    summary = standing(directory)
    ends = what in ("stop", "cancel")
    if ends and summary.state == "queued" and summary.job is not None and taken_back(directory, what, summary):
        return standing(directory).state
    holder = owner(directory)
    if holder is not None and holder.get("by") == "worker":
        raise live(directory, holder)
    if holder is None and summary.state not in LIVE and not (ends and summary.state == "queued"):
        raise UsageError(
            f"run {directory.id} is not running: it is {summary.state}{f' ({summary.reason})' if summary.reason else ''}"
        )
    write_atomic(directory.request(what), "")
    return "stopping"


def taken_back(directory: RunDir, what: str, summary: Summary) -> bool:
    """Whether its job had not begun, and is gone from the queue now. Raises BackendError."""
    queue = backends.QUEUES[summary.backend or ""]
    assert summary.job is not None
    for number in filter(None, (summary.job, summary.successor)):
        queue.take_back(number)
    job = Look([directory]).at(summary.backend or "").get(summary.job)
    if job is not None and (job.runs or job.waits):
        return False
    state: State = "stopped" if what == "stop" else "cancelled"
    code = {"stopped": Stopped.exit_code, "cancelled": Cancelled.exit_code}[state]
    record(directory, state, reason=f"launch {what}: job {summary.job} was taken out of the queue", exit_code=code)
    return True


def start_detached(directory: RunDir, *, lock: int) -> None:
    """A supervisor in a session of its own; returns once it holds the run. Raises LaunchError where it ends before that.

    `lock`: descriptor of the lock that the caller holds and hands over.
    """
    directory.supervisor_log.parent.mkdir(parents=True, exist_ok=True)
    plan = read_plan(directory)
    before = ledger_bytes(directory)
    with directory.supervisor_log.open("ab") as log:
        command = [*map(directory.fill, plan.supervisor), f"--lock={lock}"]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, pass_fds=[lock]
        )
    STARTED[:] = [*(each for each in STARTED if each.poll() is None), process]
    deadline = time.monotonic() + LOCK_WAIT_S
    while time.monotonic() < deadline:
        code = process.poll()
        if ledger_bytes(directory) > before:
            return
        if code is not None:
            raise error_of(code, last_words(directory) or f"the supervisor ended with code {code}, and said nothing", directory)
        time.sleep(POLL_S / 5)
    raise BackendError(f"the supervisor did not get to its work within {LOCK_WAIT_S:g} s: see {directory.supervisor_log}")


def ledger_bytes(directory: RunDir) -> int:
    return directory.events.stat().st_size if directory.events.exists() else 0


def last_words(directory: RunDir) -> str:
    return directory.supervisor_log.read_text(errors="replace")[-2000:].strip()


def ended_otherwise(directory: RunDir) -> LaunchError:
    """The exception for a run that ended and is not done, with the reason and the exit code of its ledger."""
    ends = [entry for entry in ledger(directory) if "exit_code" in entry]
    summary = summarize(directory)
    codes = {"stopped": Stopped.exit_code, "cancelled": Cancelled.exit_code}
    code = ends[-1]["exit_code"] if ends and ends[-1]["event"] == summary.state else codes.get(summary.state, 1)
    return error_of(code, f"run {directory.id} {summary.state}: {summary.reason or 'see its logs'}", directory)


def error_of(code: int, message: str, directory: RunDir) -> LaunchError:
    if code == SpecError.exit_code:
        return SpecError([Problem(source=str(directory.job), message=message)])
    kinds: dict[int, type[LaunchError]] = {kind.exit_code: kind for kind in (BackendError, Stopped, Cancelled)}
    return kinds.get(code, LaunchError)(message)
