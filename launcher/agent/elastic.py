"""The entry of a rank that torchrun started: the same logs, error file, channel and stop as for a forked one.

`python -P -m launcher.agent.elastic SHARE`, where SHARE names a JSON file with what all ranks of the node have in common.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from launcher.agent.entry import Program, become
from launcher.agent.orphans import die_with_parent
from launcher.rank import CODE, FOLDER, PID, POLLED, RANK, RESTARTS, SAVED, STOP, Channel, channel_file
from launcher.rundir import RunDir


@dataclass(frozen=True, kw_only=True)
class Share:
    run_dir: str
    attempt: int
    channels: str
    kind: str
    target: str
    argv: tuple[str, ...]
    cwd: str
    binding: Sequence[Sequence[int]] | None
    """Cores of each local rank."""
    environment: Mapping[str, str]


def main() -> NoReturn:
    die_with_parent(os.getppid())
    share = Share(**json.loads(Path(sys.argv[1]).read_text()))
    rank, local_rank = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    restarts = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    channel = Channel(channel_file(share.channels, local_rank))
    if restarts and channel.slots[STOP]:
        stay_stopped(channel)
    for slot, value in ((PID, os.getpid()), (RANK, rank + 1), (RESTARTS, restarts), (POLLED, 0), (CODE, 0)):
        channel.slots[slot] = value
    become(program(share, rank, local_rank, share.attempt + restarts), lambda code: tell(channel, code))


def stay_stopped(channel: Channel) -> NoReturn:
    """torchrun takes a rank that SIGTERM stopped for a failed one and starts it again: there is nothing left to do."""
    if not channel.slots[CODE]:
        channel.slots[CODE] = -signal.SIGTERM + 1
    os._exit(0)


def tell(channel: Channel, code: int) -> int:
    """To torchrun a rank that saved has succeeded: it would restart any other."""
    channel.slots[CODE] = code + 1
    return 0 if code == SAVED and channel.slots[STOP] else code


def program(share: Share, rank: int, local_rank: int, attempt: int) -> Program:
    run = RunDir(share.run_dir)
    run.attempt(attempt).mkdir(parents=True, exist_ok=True)
    return Program(
        kind=share.kind, target=share.target, argv=tuple(share.argv), cwd=share.cwd, log=str(run.rank_log(attempt, rank)),
        error=str(run.rank_error(attempt, rank)), cpus=share.binding[local_rank] if share.binding else None,
        environment={**share.environment, "LAUNCHER_RUN_DIR": share.run_dir, "LAUNCHER_ATTEMPT": str(attempt),
                     FOLDER: share.channels},
    )  # fmt: skip


if __name__ == "__main__":
    main()
