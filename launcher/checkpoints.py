"""Checkpoints as files: names, manifests, verification, newest and best. No tensors here.

A checkpoint is a folder checkpoints/step-00000120 with manifest.json as the last file written into it while it still has a hidden
name; the rename makes it appear whole. `.name` folders are unfinished and never read.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.rundir import RunDir, read_json

NAME = re.compile(r"step-(\d{8,})")
MANIFEST = "manifest.json"
MODEL = "model.safetensors"
CHUNK_BYTES = 1 << 20


def checkpoint_name(step: int) -> str:
    return f"step-{step:08d}"


def digest(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Checkpoint:
    path: Path
    step: int

    @property
    def manifest(self) -> dict[str, Any]:
        return read_json(self.path / MANIFEST) or {}

    def damage(self) -> str | None:
        """What is wrong with it, in words, after reading every byte; None where it is whole."""
        manifest = read_json(self.path / MANIFEST)
        if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
            return f"{MANIFEST} is missing or not readable"
        for name, expected in manifest["files"].items():
            file = self.path / name
            if not file.is_file():
                return f"{name} is missing"
            if file.stat().st_size != expected["size"]:
                return f"{name} has {file.stat().st_size} bytes instead of {expected['size']}"
            if digest(file) != expected["sha256"]:
                return f"{name} does not have the content that was written (sha256 differs)"
        return None


def checkpoints(run: RunDir) -> list[Checkpoint]:
    """All that stand in the run, oldest first, verified or not."""
    if not run.checkpoints.is_dir():
        return []
    found = ((NAME.fullmatch(path.name), path) for path in run.checkpoints.iterdir())
    return sorted((Checkpoint(path, int(match[1])) for match, path in found if match), key=lambda each: each.step)


def newest_first(run: RunDir) -> Iterator[tuple[Checkpoint, str | None]]:
    """Each checkpoint with its damage, verified as it is asked for."""
    for checkpoint in reversed(checkpoints(run)):
        yield checkpoint, checkpoint.damage()


def newest_whole(run: RunDir) -> tuple[Checkpoint | None, list[str]]:
    """The newest that is whole, and a sentence for each damaged one that was passed over."""
    passed: list[str] = []
    for checkpoint, damage in newest_first(run):
        if damage is None:
            return checkpoint, passed
        passed.append(f"checkpoint {checkpoint.path.name} is damaged and was not used: {damage}")
    return None, passed


def best(run: RunDir, monitor: str, mode: str) -> Checkpoint | None:
    """The whole checkpoint with the best value of a metric; of equals the oldest."""
    scored = [(each.manifest.get("metrics", {}).get(monitor), each) for each in checkpoints(run)]
    sign = 1 if mode == "min" else -1
    for _, checkpoint in sorted(
        ((sign * value, each) for value, each in scored if value is not None), key=lambda pair: (pair[0], pair[1].step)
    ):
        if checkpoint.damage() is None:
            return checkpoint
    return None


def prune(run: RunDir, *, keep_last: int, keep: set[int] = frozenset()) -> None:  # type: ignore[assignment]
    """Removes all but the newest `keep_last` and the steps in `keep`; never the last one that is whole."""
    standing = checkpoints(run)
    for checkpoint in standing[:-keep_last]:
        if checkpoint.step not in keep:
            # Hidden first, so that a removal that is cut short leaves nothing that looks like a checkpoint.
            hidden = checkpoint.path.with_name(f".removed-{checkpoint.path.name}")
            checkpoint.path.replace(hidden)
            shutil.rmtree(hidden, ignore_errors=True)
