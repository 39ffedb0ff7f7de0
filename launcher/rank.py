"""The node-local channel between a rank and its agent, and what a user's script may call.

    should_stop()    True once it is time to save and exit 0: ask at a step boundary
    pulse(step)      tells the hang watch that there is progress

Both are no-ops under plain torchrun or python. A rank and its agent map the same small file, so that asking and telling cost a
memory access and no system call. The agent creates the file, names its folder in LAUNCHER_CHANNEL, and outlives the rank.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

FOLDER = "LAUNCHER_CHANNEL"
SLOTS = 8
STEP, PULSES, STOP, POLLED, PID, RANK, RESTARTS, CODE = range(SLOTS)
"""The last four are written by the entry of ranks that torchrun starts, which the agent cannot ask."""
SAVED = 75
"""Exit code of a rank that saved because it was asked to stop: an end that went well."""


class Channel:
    """Eight 64-bit slots of shared memory; each is written by one side alone."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        if create:
            path.write_bytes(bytes(SLOTS * 8))
        with path.open("r+b") as file:
            self.slots = memoryview(mmap.mmap(file.fileno(), SLOTS * 8)).cast("q")

    @property
    def step(self) -> int | None:
        """The last step that the rank told of."""
        return self.slots[STEP] - 1 if self.slots[STEP] else None

    @property
    def pulses(self) -> int:
        return self.slots[PULSES]

    @property
    def polled(self) -> bool:
        """Whether the rank asks should_stop(): then it needs no SIGTERM to know."""
        return bool(self.slots[POLLED])

    def ask_to_stop(self) -> None:
        self.slots[STOP] = 1


def channel_file(folder: str | Path, local_rank: int) -> Path:
    return Path(folder) / f"rank-{local_rank}"


_channel: Channel | None = None
_opened_by: int | None = None


def _open() -> Channel | None:
    """This process's channel, opened once per process: a forked child asks anew."""
    global _channel, _opened_by
    if _opened_by != os.getpid():
        _opened_by = os.getpid()
        folder, local_rank = os.environ.get(FOLDER), os.environ.get("LOCAL_RANK", "")
        path = channel_file(folder, int(local_rank)) if folder and local_rank.isdigit() else None
        _channel = Channel(path) if path and path.exists() else None
    return _channel


def pulse(step: int | None = None) -> None:
    """Tells the hang watch that there is progress, and how far the training is. A no-op under plain torchrun or python."""
    channel = _open()
    if channel is not None:
        if step is not None:
            channel.slots[STEP] = step + 1
        channel.slots[PULSES] += 1


def should_stop() -> bool:
    """True once it is time to save and exit 0: asked at a step boundary. Never under plain torchrun or python."""
    channel = _open()
    if channel is None:
        return False
    channel.slots[POLLED] = 1
    return channel.slots[STOP] != 0


def last_step() -> int | None:
    """What this rank last told of."""
    channel = _open()
    return channel.step if channel is not None else None
