"""Where every thread of a rank is, written by the rank itself on a signal: in a collective, in C, or in the user's code.

The rank writes into the agent's own folder, so that it answers even while a shared file system hangs; the agent copies that into
the run directory. The handler runs at once and needs no lock of the interpreter.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.rundir import RunDir, write_atomic

if TYPE_CHECKING:
    from launcher.agent.attempt import Rank

SIGNAL = signal.SIGRTMIN + 5
"""None that a queue, a library or torchrun uses. NCCL may catch SIGUSR1, and a script of the user's either of the two."""
ALL_THREADS = signal.SIGRTMIN + 6
"""For ranks that hang: to walk through the frames of a thread that runs can end the process (measured: one time in 258)."""
LOOK_EVERY_S = 0.05
ANSWER_S = 2.0
"""The handler runs within a moment; what has not answered by then cannot run at all."""
FILE = "stacks-{}"
PIPE = "nccl-{}.pipe"
"""torch's own ending for what TORCH_NCCL_DEBUG_INFO_PIPE_FILE names."""
NO_ANSWER = "no answer: "
PROCESS = "-- process"
"""Heads the stacks of a rank's child."""
MOST_LOADERS = 8
STATES = {
    "T": "it is stopped (SIGSTOP)",
    "t": "a debugger holds it",
    "D": "the kernel holds it, in a file system or a driver",
    "Z": "it has ended",
}


def register(folder: str, local_rank: str) -> None:
    """In a rank, at its start. The file stays open: a rank that can open nothing more can still answer."""
    descriptor = os.open(Path(folder) / FILE.format(local_rank), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    faulthandler.register(SIGNAL, file=descriptor, all_threads=False)
    faulthandler.register(ALL_THREADS, file=descriptor, all_threads=True)


def catches(pid: int) -> bool:
    """Whether it has a handler. In any other process the signal would be deadly: before `register`, or in a program without
    Python."""
    return bool(int(status(pid, "SigCgt") or "0", 16) >> (SIGNAL - 1) & 1)


def status(pid: int, key: str) -> str | None:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == key:
                return value.strip()
    return None


def excuse(pid: int | None) -> str:
    """Why a rank says nothing."""
    if pid is None:
        return f"{NO_ANSWER}it has not begun, or has ended\n"
    state = (status(pid, "State") or "Z")[0]
    if state in STATES:
        why = STATES[state]
    elif catches(pid):
        why = "it does not react"
    else:
        why = "it has not begun, or is a program whose Python is its own"
    return f"{NO_ANSWER}{why}{waits_in(pid) if state not in 'TtZ' else ''}\n"


def waits_in(pid: int) -> str:
    """The kernel's word for where it sleeps."""
    with suppress(OSError):
        place = Path(f"/proc/{pid}/wchan").read_text().strip()
        return f" ({place})" if place not in ("", "0") else ""
    return ""


@dataclass
class Answer:
    """One rank's and its loader processes', which write into the same file and are asked one after the other."""

    rank: int
    pid: int | None
    path: Path
    begins: int
    """Where in the file the next one's begins."""
    size: int
    left: list[int]
    """Processes that are still to be asked."""
    signal: int
    parts: list[str] = field(default_factory=list)

    @property
    def done(self) -> bool:
        return bool(self.parts) and not self.left

    def ask(self) -> None:
        """The next process that can answer."""
        while self.left and not catches(self.left[0]):
            self.left.pop(0)
        if self.left:
            with suppress(ProcessLookupError):
                os.kill(self.left[0], self.signal)

    def look(self) -> None:
        """One has answered where something came, and nothing more since the last look."""
        size = length(self.path)
        if self.left and size > self.begins and size == self.size:
            with self.path.open("rb") as file:
                file.seek(self.begins)
                text = file.read(size - self.begins).decode(errors="replace")
            self.parts.append(f"{PROCESS} {self.left.pop(0)}\n{text}" if self.parts else text)
            self.left = self.left if len(self.parts) > 1 else loaders(self.pid)
            self.begins = size
            self.ask()
        self.size = size

    def text(self) -> str:
        return "\n".join(self.parts) or excuse(self.pid)


def loaders(pid: int | None) -> list[int]:
    """Children of a rank that inherited its handler."""
    with suppress(OSError):
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        found = [int(child) for task in tasks for child in (task / "children").read_text().split()]
        return [child for child in found if catches(child)][:MOST_LOADERS]
    return []


def length(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0


@dataclass
class Request:
    """The stacks of an attempt's ranks on this node, from the order to their files in the run directory."""

    run: RunDir
    attempt: int
    number: int
    """Of the request: an answer names it."""
    whole: bool
    """All threads, not the main one alone."""
    answers: list[Answer] = field(default_factory=list)
    until: float = field(default_factory=lambda: time.monotonic() + ANSWER_S)
    look_at: float = field(default_factory=lambda: time.monotonic() + LOOK_EVERY_S)

    def ask(self, ranks: Sequence[Rank], channels: Path) -> None:
        for rank in ranks:
            path = channels / FILE.format(rank.local_rank)
            size = length(path)
            left = [] if rank.pid is None else [rank.pid]
            number = ALL_THREADS if self.whole else SIGNAL
            answer = Answer(rank.global_rank, rank.pid, path, begins=size, size=size, left=left, signal=number)
            answer.ask()
            self.answers.append(answer)
            ask_nccl(channels / PIPE.format(rank.global_rank))

    def complete(self, now: float) -> bool:
        self.look_at = now + LOOK_EVERY_S
        for answer in self.answers:
            answer.look()
        return all(answer.done for answer in self.answers) or now >= self.until

    def keep(self) -> None:
        """Into the run directory, one file for each rank."""
        for answer in self.answers:
            write_atomic(self.run.stacks(self.attempt, answer.rank), answer.text(), durable=False)


def ask_nccl(pipe: Path) -> None:
    """torch's flight recorder writes its file where somebody writes into its pipe; there is none without NCCL."""
    with suppress(OSError):
        descriptor = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        os.write(descriptor, b"1\n")
        os.close(descriptor)
