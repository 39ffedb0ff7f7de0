"""Checkpoints as files: names, manifests, verification, newest and best, retention. No tensors here.

A checkpoint is a folder checkpoints/step-00000120 with manifest.json as the last file written into it while it still has a hidden
name; the rename makes it appear whole. `.name` folders are never read:

    .step-00000120.writing.PID     unfinished
    .step-00000120.replaced        the same step's older one, for the instant in which the newer takes its name
    .step-00000120.removed         being deleted
    .step-00000120.damaged         found damaged, kept for whoever wants to know why
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.rundir import RunDir, read_json, sync_directory

NAME = re.compile(r"step-(\d{8,})")
HIDDEN = re.compile(r"\.(step-\d{8,})\.(writing|replaced|removed|damaged)(?:\.\d+)?")
MANIFEST = "manifest.json"
MODEL = "model.safetensors"
OPTIMIZER = "optimizer.safetensors"
BUFFERS = "buffers.safetensors"
EMA = "ema.safetensors"
STATE = "state.json"
WRITER = "checkpoint"
"""Name of the thread that writes one."""


def checkpoint_name(step: int) -> str:
    return f"step-{step:08d}"


def digest(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(manifest: dict[str, Any]) -> str:
    """sha256 of all that a manifest says, so that it vouches for itself as well."""
    said = {key: value for key, value in manifest.items() if key != "seal"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Checkpoint:
    path: Path
    step: int

    @property
    def manifest(self) -> dict[str, Any]:
        """Empty where there is none, or where it cannot be read."""
        manifest = read_json(self.path / MANIFEST)
        return manifest if isinstance(manifest, dict) else {}

    def damage(self, *, every_byte: bool = True) -> str | None:
        """What is wrong with it, in words; None where it is whole.

        Without `every_byte` only names and sizes are looked at: for commands that answer at once, and right after writing. Raises
        OSError where it cannot be read now, which says nothing of what was written.
        """
        manifest = self.manifest
        if not manifest:
            return f"{MANIFEST} is missing or not readable"
        if manifest.get("seal") != seal(manifest):
            return f"{MANIFEST} does not have the content that was written"
        files = manifest["files"]
        for name, expected in files.items():
            file = self.path / name
            if not file.is_file():
                return f"{name} is missing"
            if file.stat().st_size != expected["size"]:
                return f"{name} has {file.stat().st_size} bytes instead of {expected['size']}"
            if every_byte and digest(file) != expected["sha256"]:
                return f"{name} does not have the content that was written (sha256 differs)"
        return None


def checkpoints(run: RunDir) -> list[Checkpoint]:
    """All that stand in the run, oldest first, verified or not."""
    if not run.checkpoints.is_dir():
        return []
    found = ((NAME.fullmatch(path.name), path) for path in run.checkpoints.iterdir())
    return sorted((Checkpoint(path, int(match[1])) for match, path in found if match), key=lambda each: each.step)


def newest_whole(run: RunDir) -> tuple[Checkpoint | None, list[str]]:
    """The newest that is whole, and a sentence for each damaged one that was passed over."""
    passed: list[str] = []
    for checkpoint in reversed(checkpoints(run)):
        damage = checkpoint.damage()
        if damage is None:
            return checkpoint, passed
        passed.append(passed_over(checkpoint, damage))
    return None, passed


def passed_over(checkpoint: Checkpoint, damage: str) -> str:
    return f"checkpoint {checkpoint.path.name} is damaged and was not used: {damage}"


def best(run: RunDir, monitor: str, mode: str, *, every_byte: bool = True) -> Checkpoint | None:
    """The whole checkpoint with the best value of a metric; of equals the oldest."""
    sign = 1 if mode == "min" else -1
    scored = [(value, each) for each in checkpoints(run) if (value := each.manifest.get("metrics", {}).get(monitor)) is not None]
    ranked = sorted(scored, key=lambda pair: (sign * pair[0], pair[1].step))
    return next((each for _, each in ranked if each.damage(every_byte=every_byte) is None), None)


def prune(run: RunDir, *, keep_last: int, keep: AbstractSet[int] = frozenset()) -> None:
    """Removes all but the newest `keep_last` and the steps in `keep`; never the last one that is whole.

    One that is visibly damaged does not count as one of the newest, and is not removed while it is newer than those.
    """
    whole = [each for each in checkpoints(run) if each.damage(every_byte=False) is None]
    if not whole:
        return
    oldest_kept = whole[-keep_last:][0].step
    for checkpoint in checkpoints(run):
        if checkpoint.step < oldest_kept and checkpoint.step not in keep:
            remove(checkpoint)


def remove(checkpoint: Checkpoint) -> None:
    """Hidden first, so that a removal that is cut short leaves nothing that looks like a checkpoint."""
    hidden = hidden_path(checkpoint.path, "removed")
    shutil.rmtree(hidden, ignore_errors=True)
    checkpoint.path.replace(hidden)
    shutil.rmtree(hidden, ignore_errors=True)


def hidden_path(path: Path, why: str) -> Path:
    return path.with_name(f".{path.name}.{why}")


def writing_path(run: RunDir, step: int) -> Path:
    """Where a checkpoint is written until it is whole; one of its own for each process."""
    return run.checkpoints / f".{checkpoint_name(step)}.writing.{os.getpid()}"


def publish(written: Path, run: RunDir, step: int) -> Checkpoint:
    """Gives a whole checkpoint its name. One of the same step that stands there is replaced, and put back by `recover` where the
    process dies between the two renames."""
    final = run.checkpoints / checkpoint_name(step)
    older = hidden_path(final, "replaced")
    if final.exists():
        shutil.rmtree(older, ignore_errors=True)
        final.replace(older)
    written.replace(final)
    sync_directory(run.checkpoints)
    shutil.rmtree(older, ignore_errors=True)
    return Checkpoint(final, step)


def set_aside(checkpoint: Checkpoint) -> Path:
    """Takes a damaged one out of the way, so that it can neither be read nor crowd out a good one."""
    hidden = hidden_path(checkpoint.path, "damaged")
    shutil.rmtree(hidden, ignore_errors=True)
    checkpoint.path.replace(hidden)
    return hidden


def recover(run: RunDir) -> None:
    """Clears away what a process that died while it wrote or removed has left. Only for the one who writes."""
    if not run.checkpoints.is_dir():
        return
    for path in list(run.checkpoints.iterdir()):
        match = HIDDEN.fullmatch(path.name)
        if not match or match[2] == "damaged":
            continue
        final = run.checkpoints / match[1]
        if match[2] == "replaced" and not final.exists():
            path.replace(final)
        else:
            shutil.rmtree(path, ignore_errors=True)
