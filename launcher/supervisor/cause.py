"""One root cause of the whole job: of all that went wrong in an attempt, the thing that came first and pulled the rest down."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from launcher.events import State
from launcher.rundir import RunDir, read_json, write_json

Kind = Literal["error", "spec", "environment", "oom", "nan", "signal", "exit", "agent", "hang"]

TAIL_LINES = 20
TAIL_BYTES = 16_384

ECHO = re.compile(
    r"connection (was )?(closed|reset|refused)|closed by peer|broken pipe|connectfullmesh|recvbytes|socket (closed|timeout|error)"
    r"|remote process exited|timed out|timeout|process ?group|nccl error|store.*(get|wait)|heartbeat|not all ranks joined",
    re.IGNORECASE,
)
"""Words of an exception that tells of another rank's end. Such a rank is blamed only where no other is left to blame."""


UNSHARED = "unshared"
"""In a failure's details: its node does not see the run directory."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """failure.json (CONTRACTS); null where it does not apply."""

    attempt: int
    node: int | None = None
    host: str | None = None
    rank: int | None = None
    local_rank: int | None = None
    step: int | None = None
    kind: Kind
    exception: str | None = None
    message: str | None = None
    where: str | None = None
    """file:line of the user's code."""
    signal: str | None = None
    exit_code: int | None = None
    log_tail: Sequence[str] = ()
    details: Mapping[str, Any] | None = None
    pulses: int = 0

    @property
    def users_error(self) -> bool:
        """A signal or a lost agent is never a user's error."""
        return self.kind in ("error", "spec", "environment", "nan", "exit")

    def sentence(self) -> str:
        """For the ledger and the terminal: who, what, where."""
        node = f"node {self.node} ({self.host})"
        who = f"rank {self.rank} on {node}" if self.rank is not None else node if self.node is not None else "all ranks"
        at = f" at step {self.step}" if self.step is not None else ""
        return f"{who}{at}: {self.what().rstrip('.')}"

    def what(self) -> str:
        if self.signal:
            return f"killed by {self.signal}"
        if self.exception:
            place = f" at {self.where}" if self.where else ""
            first = (self.message or "").splitlines()[:1]
            return f"{self.exception}{place}" + (f": {first[0]}" if first else "")
        if self.kind == "agent" or (self.message and self.exit_code is None):
            return (self.message or "its fork server died").splitlines()[0]
        return f"exited with code {self.exit_code}"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended (CONTRACTS: Ends)."""

    state: State
    exit_code: int
    reason: str | None = None
    failure: Failure | None = None


def root_cause(failures: Sequence[Failure]) -> Failure:
    """The one to blame, of ranks that ended by themselves with something other than success, in the order in which they did."""
    return next((failure for failure in failures if not echoes(failure)), failures[0])


def failure_of(run: RunDir, attempt: int, message: Mapping[str, Any], hosts: Mapping[int, str]) -> Failure:
    rank, code = message["rank"], message["code"]
    attempt = message.get("log_attempt", attempt)  # torchrun's own restarts are attempts of their own
    told = (read_json(run.rank_error(attempt, rank)) or {}) if code > 0 else {}
    steps = ((told.get("details") or {}).get("step"), told.get("step"), message.get("step"))
    step = next((each for each in steps if each is not None), None)
    kind: Kind = "signal" if code < 0 else "agent" if message.get("server_died") else told.get("kind", "exit")
    return Failure(
        attempt=attempt, node=message["agent"], host=hosts.get(message["agent"]), rank=rank, local_rank=message.get("local_rank"),
        step=step, kind=kind, exception=told.get("exception"), message=told.get("message"), where=told.get("where"),
        signal=signal_name(-code) if code < 0 else None, exit_code=code if code >= 0 else None,
        log_tail=log_tail(run.rank_log(attempt, rank)), details=told.get("details"), pulses=message.get("pulses", 0),
    )  # fmt: skip


def echoes(failure: Failure) -> bool:
    """Whether it only tells of another rank's end."""
    if failure.kind == "signal":
        return failure.signal == "SIGABRT" and any(ECHO.search(line) for line in failure.log_tail)
    return failure.kind == "error" and bool(ECHO.search(f"{failure.exception} {failure.message}"))


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def log_tail(path: Path) -> list[str]:
    with suppress(OSError), path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - TAIL_BYTES))
        return file.read().decode(errors="replace").splitlines()[-TAIL_LINES:]
    return []


def keep(run: RunDir, failure: Failure) -> None:
    """failure.json tells of the newest failed attempt; each attempt's own stays beside its logs. The next one does not wait."""
    data = {**asdict(failure), "log_tail": list(failure.log_tail)}
    write_json(run.attempt(failure.attempt) / "failure.json", data, durable=False)
    write_json(run.failure, data, durable=False)
