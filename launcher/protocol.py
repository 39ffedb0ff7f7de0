"""The messages between supervisor and agent: JSON lines over the agent's standard streams.

A message is one line of under 1,000 bytes: longer lines of several agents tear where srun merges them. What is larger is a file
in the run directory, which the message names. Every message to an agent is addressed, since srun hands its input to all of them,
and every order about ranks names their attempt, so that a late one cannot hit the next.

    supervisor -> agent                                  agent -> supervisor
    environment  name, part      a value of ${env:NAME}, in parts, where the node may lack it
    warm    run_dir              start a fork server     hello    host, pid, cpus          for people and tests
    store   attempt              open a rendezvous       store    attempt, host, port
    start   attempt, ranks ...   start these ranks       started  attempt, pids
    stop    attempt              ask ranks to save       step     attempt, step, pulses    at most twice a second
    kill    attempt              end ranks at once       exited   attempt, rank, code, step, killed
    stacks  attempt, number ...  where are they?         stacks   attempt, number          the ranks' files are written
    ping                                                 swept    attempt                  all of its processes are gone
    bye                          end yourself            pong
                                                         facts    torch, job, code ...     what the node is, after warm
                                                         trouble  message                  the agent itself cannot go on
                                                         gone                              said by its wrapper: it has ended
                                                         signalled                         ... it was sent SIGTERM, by a queue
"""

from __future__ import annotations

import json
from typing import Any, Literal, NotRequired, TypedDict, cast

MAX_BYTES = 1000
GIVEN_UP = "launcher:batch-host-dead"
"""Comment of a queue job that its agents cancel, since nothing is heard from the host of its supervisor."""


class Warm(TypedDict):
    """Start the fork server for this run's entry: its preloads and its environment.

    Which of plan.json's nodes an agent is, its own number says, less `first`.
    """

    kind: Literal["warm"]
    to: list[int]
    run_dir: str
    first: NotRequired[int]
    """Number of the agent that is the plan's node 0: of several trainings, each has a part of the agents."""
    silence_s: NotRequired[float]
    """An agent that hears nothing for so long ends its ranks and itself: three quarters of retry.lost_after."""
    mark: NotRequired[str]
    """What the run directory's mark says where the supervisor is: elsewhere it must say the same."""
    code: NotRequired[bool]
    """Whether the facts are to tell of the code too: it may be another one on each node."""


class Handed(TypedDict):
    """A part of a variable's value. A secret, perhaps: the agent keeps it in memory and writes it nowhere."""

    kind: Literal["environment"]
    to: list[int]
    name: str
    first: bool
    """Whether a value begins with it."""
    part: str
    """Base64."""


class OpenStore(TypedDict):
    kind: Literal["store"]
    to: list[int]
    attempt: int
    host: str
    """Name or address under which the other nodes reach this one."""


class Attempted(TypedDict):
    """What the nodes of an attempt share."""

    kind: Literal["start"]
    run_dir: str
    first: NotRequired[int]
    attempt: int
    nodes: int
    local_world_size: int
    """Of each of them."""
    world_size: int
    store_host: str
    store_port: int
    restarts: int
    """TORCHELASTIC_RESTART_COUNT."""
    max_restarts: int


class Start(Attempted):
    """To many agents at once: srun hands every word to all of them, and they have to read it."""

    to: list[int]
    base_ranks: list[int]
    """The first rank of each of them, in the order of `to`."""


class OwnStart(Attempted):
    """One agent's part of it."""

    base_rank: int
    group_rank: int
    """The node's index among the attempt's nodes."""


class Order(TypedDict):
    """stop and kill name their attempt; ping and bye have none."""

    kind: Literal["stop", "kill", "ping", "bye"]
    to: list[int]
    attempt: NotRequired[int]
    held_up: NotRequired[bool]
    """Of a ping: the supervisor's loop is held up, and nobody would read a pong."""
    follow: NotRequired[bool]
    """Of a stop: a rank somewhere asks should_stop(), and the others will learn of it from that one."""


class AskStacks(TypedDict):
    """Where each rank of the node is: written into the run directory (rundir: stacks)."""

    kind: Literal["stacks"]
    to: list[int]
    attempt: int
    number: int
    """Of the request; the answer names it."""
    whole: bool
    """All threads of ranks that hang; of others only the main one, which cannot be disturbed by being asked."""


ToAgent = Warm | Handed | OpenStore | Start | Order | AskStacks


class Hello(TypedDict):
    kind: Literal["hello"]
    agent: int
    host: str
    pid: int
    cpus: int


class StoreReady(TypedDict):
    kind: Literal["store"]
    agent: int
    attempt: int
    host: str
    port: int


class Started(TypedDict):
    kind: Literal["started"]
    agent: int
    attempt: int
    pids: list[int]


class Step(TypedDict):
    """The progress of the slowest local rank that tells of it."""

    kind: Literal["step"]
    agent: int
    attempt: int
    step: int
    pulses: int
    bytes: NotRequired[int]
    """What the ranks have printed, as long as none has pulsed."""
    asks: NotRequired[bool]
    """True where a rank of a user's script asks should_stop()."""


class Exited(TypedDict):
    kind: Literal["exited"]
    agent: int
    attempt: int
    rank: int
    local_rank: int
    code: int
    """-N for signal N; 255 where the fork server died."""
    step: int | None
    """The last step that the rank told of."""
    pulses: int
    killed: bool
    """True where the agent itself ended it."""
    server_died: NotRequired[bool]
    """True where the fork server died, and the rank with it: the code says nothing then."""
    error: NotRequired[bool]
    """True where the rank left a file that says what went wrong (rundir: rank_error)."""
    log_attempt: NotRequired[int]
    """The attempt under which its log and error file stand, where torchrun has restarted it since."""


class Swept(TypedDict):
    kind: Literal["swept"]
    agent: int
    attempt: int


class Word(TypedDict):
    kind: Literal["pong", "gone", "signalled"]
    agent: int


class StacksWritten(TypedDict):
    kind: Literal["stacks"]
    agent: int
    attempt: int
    number: int


class Facts(TypedDict):
    """What must be the same on every node; None where it is not known."""

    kind: Literal["facts"]
    agent: int
    launcher: str
    python: str
    torch: str | None
    job: str | None
    """Checksum of job.yaml."""
    code: str | None
    """Checksum of the Python files that it would run."""
    cpus: int
    """That it may use."""
    gpus: int


What = Literal["environment", "unshared", "agent"]
"""`unshared`: the run directory is not seen from there."""


class Trouble(TypedDict):
    kind: Literal["trouble"]
    agent: int
    attempt: int | None
    message: str
    what: What


FromAgent = Hello | StoreReady | Started | Step | Exited | Swept | Word | Trouble | StacksWritten | Facts


def own_part(start: Start, agent: int) -> OwnStart:
    shared = {name: value for name, value in start.items() if name not in ("to", "base_ranks")}
    base_rank = start["base_ranks"][start["to"].index(agent)]
    return cast(OwnStart, {**shared, "base_rank": base_rank, "group_rank": base_rank // start["local_world_size"]})


def encode(message: ToAgent | FromAgent) -> bytes:
    """Raises ValueError where the line would be too long to stay whole."""
    line = json.dumps(message, separators=(",", ":")).encode() + b"\n"
    if len(line) > MAX_BYTES:
        raise ValueError(
            f"a {message['kind']} message of {len(line)} bytes exceeds {MAX_BYTES}: put it into a file and name that"
        )
    return line


def decode(line: bytes) -> Any:
    """The message in a line, or None where the line is not one (a library printed into the stream)."""
    try:
        message = json.loads(line)
    except ValueError:
        return None
    return message if isinstance(message, dict) and "kind" in message else None
