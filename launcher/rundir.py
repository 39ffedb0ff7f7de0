"""A run's directory: every file name in it, atomic writes, and the lock that keeps it to one supervisor.

Nothing here is heavy: the agent and the ranks read these names too.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal

from launcher.errors import BackendError, UsageError

ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
CODE = "code"
"""Folder of a run directory: the copy of workdir that the run executes in, where it has one."""
TRIALS = "trials"
"""Folder of a sweep's directory: a run directory for each trial, or with folds one for each fold of a trial."""
PLACEHOLDER = "{run_dir}"
"""Stands for the run directory in plan.json, so that a run can be moved."""


class Place:
    """A fixed path inside a run directory."""

    def __init__(self, relative: str) -> None:
        self.relative = relative

    def __get__(self, run: RunDir, owner: type[RunDir]) -> Path:
        return run.path / self.relative


class RunDir:
    """The one place that knows how a run directory is laid out (CONTRACTS: A run directory)."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()

    def __repr__(self) -> str:
        return f"RunDir({str(self.path)!r})"

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def full_id(self) -> str:
        """Also of a sweep's trial and of its folds, whose own names are a number: with the sweep's before it."""
        names = self.path.parts
        at = next((at for at in (len(names) - 2, len(names) - 3) if at > 1 and names[at] == TRIALS), len(names))
        return "-".join((names[at - 1], *names[at + 1 :]))

    job = Place("job.yaml")
    begun = Place("sweep.yaml")
    """Of a sweep: its job as it was when the first trial began. With another one it is not gone on with."""
    plan = Place("plan.json")
    provenance = Place("provenance.json")
    diff = Place("uncommitted.diff")
    events = Place("events.jsonl")
    metrics = Place("metrics.jsonl")
    timings = Place("timings.jsonl")
    csv = Place("metrics.csv")
    failure = Place("failure.json")
    checkpoints = Place("checkpoints")
    logs = Place("logs")
    wandb = Place("wandb")
    tensorboard = Place("tensorboard")
    histograms = Place("tensorboard/histograms.jsonl")
    graph = Place("tensorboard/graph.pb")
    """Left by rank 0 for the views, which know no torch; a rank in turn imports nothing of TensorBoard."""
    plots = Place("plots")
    profile = Place("profile")
    requests = Place("requests")
    code = Place(CODE)
    lock = Place(".supervisor")
    mark = Place(".mark.json")
    """Written by the supervisor before each start of agents: who reads the same sees the same directory."""
    micro_batch = Place("micro_batch.json")
    unused_parameters = Place("unused_parameters.json")
    supervisor_log = Place("logs/supervisor.log")
    agents_log = Place("logs/agents.log")
    """What agents, and the srun or ssh that carries them, said on stderr."""

    def attempt(self, number: int) -> Path:
        return self.path / "logs" / f"attempt-{number}"

    def attempts(self) -> list[int]:
        """Numbers of the attempts that left logs, rising."""
        names = (path.name.removeprefix("attempt-") for path in self.logs.glob("attempt-*"))
        return sorted(int(name) for name in names if name.isdecimal())

    def rank_log(self, attempt: int, rank: int) -> Path:
        return self.attempt(attempt) / f"rank-{rank}.log"

    def rank_error(self, attempt: int, rank: int) -> Path:
        """What the rank's exception was, written by the rank itself."""
        return self.attempt(attempt) / f"rank-{rank}-error.json"

    def stacks(self, attempt: int, rank: int | None = None) -> Path:
        """Where a rank was when it was asked last; without a rank those of all, folded first."""
        return self.attempt(attempt) / ("stacks.txt" if rank is None else f"rank-{rank}.stacks")

    def node_log(self, attempt: int, node: int) -> Path:
        return self.attempt(attempt) / f"node-{node}.log"

    def request(self, what: str) -> Path:
        """`stop`, `cancel` or `stacks`: asked for by creating the file, looked at every second."""
        return self.requests / what

    def trial(self, number: int) -> RunDir:
        """Of a sweep; with folds the folder of their runs."""
        return RunDir(self.path / TRIALS / str(number))

    def trial_runs(self, number: int, folds: int | None) -> list[RunDir]:
        """The trial itself, or a run for each fold; they may not have begun."""
        own = self.trial(number)
        return [own] if folds is None else [RunDir(own.path / f"fold-{fold}") for fold in range(folds)]

    def fill(self, text: str) -> str:
        return text.replace(PLACEHOLDER, str(self.path))


def new_run_dir(runs: Path, name: str) -> RunDir:
    """A fresh directory of its own, even with many launches at the same moment. Raises BackendError."""
    import secrets  # brings OpenSSL, 3 MB that an agent need not carry

    while True:
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        path = runs / f"{stamp}-{name}-{''.join(secrets.choice(ALPHABET) for _ in range(4))}"
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise BackendError(
                f"cannot make a run directory in {runs}: {error.strerror}. Choose another place with --runs DIR"
            ) from None
        return RunDir(path)


def write_atomic(path: Path, content: str | bytes, *, durable: bool = True) -> None:
    """All of it or nothing: written aside, fsynced (5 ms each; `durable`: it outlives a power cut), renamed."""
    data = content.encode() if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = aside_of(path)
    try:
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    if durable:
        sync_directory(path.parent)


def aside_of(path: Path) -> Path:
    """Where a file is written before it takes its name."""
    return path.with_name(f".{path.name}.{numbering()}.{os.getpid()}.{os.urandom(3).hex()}")


@cache
def own_host() -> str:
    """As it was called first: a laptop may be given another name while it trains."""
    return socket.gethostname()


@cache
def numbering() -> str:
    """Within which a process's number means something: this host, or a container on it that counts for itself."""
    return f"{own_host()}-{Path('/proc/self/ns/pid').stat().st_ino}"


def clear_asides(run: RunDir) -> None:
    """What writers of this host left when they were killed half way."""
    for folder in ("", "logs/attempt-*/", "plots/"):
        for aside in run.path.glob(f"{folder}.*.{numbering()}.*.??????"):
            pid = aside.name.split(".")[-2]
            if pid.isdecimal() and not Path("/proc", pid).exists():
                with suppress(OSError):
                    aside.unlink()


def write_json(path: Path, value: Any, *, durable: bool = True) -> None:
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n", durable=durable)


def sync_directory(path: Path) -> None:
    """Makes a rename last: without it the directory may come back from a power cut without the new name."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(path: Path) -> Any:
    """The file's value, or None where there is no such file or it is not whole."""
    with suppress(OSError, ValueError):
        return json.loads(path.read_text())
    return None


def json_lines(path: Path, *, last_bytes: int | None = None) -> Iterator[Any]:
    """The whole lines of a file that may be being written; with `last_bytes`, those within its end.

    Lines that are no JSON are passed over; an unreadable file has none.
    """
    with suppress(OSError), path.open("rb") as file:
        if last_bytes is not None and (start := file.seek(0, os.SEEK_END) - last_bytes) > 0:
            file.seek(start)
            file.readline()  # the line that the start cuts
        elif last_bytes is not None:
            file.seek(0)
        for line in file:
            if line.endswith(b"\n"):
                with suppress(ValueError):
                    yield json.loads(line)


def owner(run: RunDir) -> dict[str, Any] | None:
    """Who supervises the run now ({host, pid, since, by}), or None where nobody does (a stale lock counts as nobody)."""
    with suppress(OSError), run.lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return read_json(run.lock) or {"host": "?", "pid": 0, "since": "?"}
    return None


def names_another(run: RunDir) -> bool:
    """Whether the lock has been taken from this process, which holds it: it stood still, and a successor goes on."""
    holder = read_json(run.lock)
    return isinstance(holder, dict) and (holder.get("host"), holder.get("pid")) != (own_host(), os.getpid())


def live(run: RunDir, holder: dict[str, Any]) -> UsageError:
    """What is said to whoever wants a run that somebody else has."""
    alone = holder.get("by") == "worker"
    name = run.id if run.id == run.full_id else run.path  # a trial is found by its path alone
    end = f"SIGTERM to process {holder.get('pid')}: it saves first" if alone else f"'launch stop {name} --wait'"
    return UsageError(
        f"run {name} is live: process {holder.get('pid')} on {holder.get('host')} {'trains' if alone else 'supervises'} it "
        f"since {holder.get('since')}. See it with 'launch status {name}', end it with {end}"
    )


def forget_requests(run: RunDir) -> None:
    """Of whoever held it before: to be called once it is held, and before anything that takes time."""
    for what in ("stop", "cancel"):
        run.request(what).unlink(missing_ok=True)


def refuse_live(run: RunDir) -> None:
    """Raises UsageError where somebody supervises it now."""
    if (holder := owner(run)) is not None:
        raise live(run, holder)


@contextmanager
def locked(
    run: RunDir, *, by: Literal["supervisor", "worker"] = "supervisor", inherited: int | None = None, patience_s: float = 0.25
) -> Iterator[int]:
    """Holds the run for this process's lifetime at most: the kernel lets go when it dies. Raises UsageError, BackendError.

    A reader of owner() may hold the lock for a moment, and a job that ends while its successor begins for `patience_s`.

    Yields a descriptor: a process that inherits it holds the run as well, and goes on holding it (`inherited`).
    """
    try:
        file = run.lock.open("a+b") if inherited is None else os.fdopen(inherited, "a+b")
    except OSError as error:
        raise BackendError(
            f"cannot hold {run.path}: {error.strerror}: {run.lock.name}. Only its owner can continue a run"
        ) from None
    os.register_at_fork(after_in_child=file.close)  # a loader's process that outlives its rank would hold the run
    until = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > until:
                file.close()
                raise live(run, owner(run) or {}) from None
            time.sleep(0.05)
        except OSError as error:  # NFS without lockd, Lustre without flock
            file.close()
            raise BackendError(
                f"the file system of {run.path} keeps no locks ({error.strerror}), by which two processes are kept from one run: "
                "mount it with locks, or choose another place with --runs DIR"
            ) from None
    with file:
        file.truncate(0)
        holder = {
            "host": own_host(),
            "pid": os.getpid(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
            "by": by,
        }
        file.write(json.dumps(holder).encode())
        file.flush()
        clear_asides(run)
        yield file.fileno()
