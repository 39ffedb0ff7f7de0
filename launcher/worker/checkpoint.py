"""Checkpoints, saved behind the training's back: whole, or not there.

Training stands still for the copy to host memory alone. A thread writes, hashes and fsyncs it into a hidden folder, which then
gets its name by one rename: a kill at any instant leaves a whole checkpoint or none.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from launcher import checkpoints, events, rank
from launcher.checkpoints import BUFFERS, EMA, MANIFEST, MODEL, OPTIMIZER, STATE, WRITER
from launcher.rundir import RunDir, sync_directory
from launcher.spec import Job
from launcher.spec.checkpoint import Checkpoint as Keeping
from launcher.worker import rank_state
from launcher.worker.contents import contents
from launcher.worker.errors import WorkerError
from launcher.worker.history import finite_or_null
from launcher.worker.state import TrainState
from launcher.worker.tensor_file import HostCopy, lay_out, write
from launcher.worker.world import World

MB = 1e6
WRITER_NICENESS = 10
FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, kw_only=True)
class Note:
    """What the manifest says beside its files."""

    step: int
    attempt: int
    rows: int
    """Of metrics.jsonl, which this checkpoint covers."""
    metrics: dict[str, float | None]
    """Of the newest evaluation."""
    world_size: int
    spec_sha256: str


class Saver:
    """Writes a run's checkpoints. Every rank has one and calls save(); rank 0 writes."""

    def __init__(self, run: RunDir, world: World, spec: Keeping, *, job: Job) -> None:
        self.run, self.world, self.spec, self.keep_best = run, world, spec, job.keep_best
        self.spec_sha256 = spec_sha256(job)
        pinned = world.device.type == "cuda"
        self.copies = {name: HostCopy(pinned=pinned) for name in (MODEL, OPTIMIZER, BUFFERS, EMA)}
        self.thread: threading.Thread | None = None
        self.failure: BaseException | None = None
        if world.first:
            checkpoints.recover(run)

    def prepare(self, state: TrainState) -> None:
        """Takes the host memory ahead of the first save. After the first step: optimizers begin their state there."""
        if self.world.first:
            tensors = contents(state, []).tensors
            sizes = {name: lay_out(each).data_bytes for name, each in tensors.items()}
            self._behind(lambda: self._reserve(sizes))

    def save(self, state: TrainState, *, metrics: Mapping[str, float], rows: int, attempt: int, block: bool = False) -> None:
        """Returns once the state may change again; the rest goes on behind. A collective.

        Waits for the save before it. Raises WorkerError where that one failed, or where the state holds what no checkpoint can.
        """
        began = time.monotonic()
        self.world.await_first(self.written)
        self.wait()
        state.collect(self.world)
        ranks = rank_state.collect(state.model, self.world)
        if not self.world.first:
            return
        note = Note(
            step=state.step, attempt=attempt, rows=rows, metrics=finite_or_null(metrics),
            world_size=self.world.world_size, spec_sha256=self.spec_sha256,
        )  # fmt: skip
        taken = contents(state, ranks)
        for name, tensors in taken.tensors.items():
            self.copies[name].take(tensors)
        done = copies_done(self.world.device)
        held_s = time.monotonic() - began
        self._behind(lambda: self._keep(note, json.dumps(taken.described).encode(), done, held_s, block=block))
        if block:
            self.wait()

    def wait(self) -> None:
        """Until the last save is on disk. Raises WorkerError where it failed."""
        if self.thread is not None:
            self.thread.join()
            self.thread = None
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure

    def written(self, patience_s: float) -> bool:
        """Whether no save goes on behind any more, after at most so many seconds."""
        if self.thread is not None:
            self.thread.join(patience_s)
        return self.thread is None or not self.thread.is_alive()

    def close(self) -> None:
        self.wait()
        self.copies.clear()

    def _reserve(self, data_bytes: Mapping[str, int]) -> None:
        for name, size in data_bytes.items():
            self.copies[name].reserve(size)

    def _behind(self, work: Callable[[], object]) -> None:
        def gently() -> None:
            try:
                # Linux gives each thread a niceness of its own: the training's threads go first. Where it may not, it need not.
                with suppress(OSError):
                    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), WRITER_NICENESS)
                work()
            except BaseException as error:
                self.failure = error

        # Not a daemon: a training that ends by an exception still finishes what it had decided to keep.
        self.thread = threading.Thread(target=gently, name=WRITER)
        self.thread.start()

    def _keep(self, note: Note, described: bytes, done: torch.cuda.Event | None, held_s: float, *, block: bool) -> None:
        """`held_s`: for which the training stood still; `block`: and stands still until this has ended.

        Raises WorkerError where the disk is full or fails.
        """
        aside = checkpoints.writing_path(self.run, note.step)
        started = time.monotonic()
        if done is not None:
            done.synchronize()
        try:
            size = self._write(aside, note, described)
            self._refuse_if_fenced(note)
            name = checkpoints.publish(aside, self.run, note.step).path.name
        except OSError as error:
            shutil.rmtree(aside, ignore_errors=True)
            failure = self._explained(error, note, len(described))
            print(failure, file=sys.stderr, flush=True)
            raise failure from None
        seconds = round(time.monotonic() - started, 3)
        held_s = round(held_s + (seconds if block else 0.0), 3)
        events.record(
            self.run, "checkpoint", attempt=note.attempt, step=note.step, name=name, bytes=size, seconds=seconds, held_s=held_s
        )
        self._prune()

    def _refuse_if_fenced(self, note: Note) -> None:
        """A node that froze, or was cut off, comes back when others have gone on: nothing of it is taken. Raises WorkerError."""
        newest = max(self.run.attempts(), default=0)
        if newest > note.attempt:
            shutil.rmtree(checkpoints.writing_path(self.run, note.step), ignore_errors=True)
            raise WorkerError(
                f"attempt {newest} of this run has begun: nothing of attempt {note.attempt} is kept any more", kind="error"
            )

    def _write(self, aside: Path, note: Note, described: bytes) -> int:
        """Bytes written. Raises OSError."""
        aside.mkdir(parents=True)
        held = {name: copy for name, copy in self.copies.items() if copy.layout.spans or name not in (BUFFERS, EMA)}
        files = {name: write(aside / name, pulsing(copy.chunks())) for name, copy in held.items()}
        files[STATE] = write(aside / STATE, iter([memoryview(described)]))
        manifest = vars(note) | {"files": files}
        text = json.dumps(manifest | {"seal": checkpoints.seal(manifest)}, indent=2)
        write(aside / MANIFEST, iter([memoryview(text.encode())]))
        sync_directory(aside)
        return sum(each["size"] for each in files.values())

    def _prune(self) -> None:
        best = self.keep_best
        kept = checkpoints.best(self.run, best.monitor, best.mode, every_byte=False) if best else None
        checkpoints.prune(self.run, keep_last=self.spec.keep_last, keep={kept.step} if kept else frozenset())

    def _explained(self, error: OSError, note: Note, described_bytes: int) -> WorkerError:
        needed = described_bytes + sum(copy.layout.file_bytes for copy in self.copies.values())
        reason = error.strerror or str(error)
        message = f"the checkpoint of step {note.step} could not be written into {self.run.checkpoints}: {reason}"
        if error.errno in FULL:
            free = shutil.disk_usage(self.run.path).free
            message += (
                f". It needs {needed / MB:.1f} MB, and {free / MB:.1f} MB are free: make room there, or keep fewer "
                "(checkpoint.keep_last). No earlier checkpoint was touched"
            )
        return WorkerError(message, kind="environment", details={"step": note.step, "needed_bytes": needed})


def pulsing(chunks: Iterator[memoryview]) -> Iterator[memoryview]:
    """A large checkpoint on a slow disk is no hang."""
    for chunk in chunks:
        yield chunk
        rank.pulse()


def copies_done(device: torch.device) -> torch.cuda.Event | None:
    """Reached once the copies that were just started have arrived. The host does not wait for it: what the training changes
    next is queued behind them."""
    if device.type != "cuda":
        return None
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(device))
    return event


def spec_sha256(job: Job) -> str:
    """Of what decides the mathematics: seed and train, apart from the length, which may grow."""
    decisive = job.model_dump(mode="json", include={"seed", "train"})
    for length in ("epochs", "max_steps"):
        (decisive["train"] or {}).pop(length, None)
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
