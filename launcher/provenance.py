"""What a run was made of: the code's commit and uncommitted changes, package versions, host and devices."""

from __future__ import annotations

import platform
import re
import socket
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from launcher.gpus import driver_gpus
from launcher.rundir import RunDir, read_json, write_atomic, write_json

DIFF_LIMIT_BYTES = 10_000_000
GIT_TIMEOUT_S = 10
HEADER = re.compile(r"^(Name|Version): *(.+)$", re.MULTILINE)


def keep(run: RunDir, workdir: str) -> None:
    """What surrounds the code, in provenance.json; and the code, where keep_code() did not write of it when it was copied."""
    known = read_json(run.provenance) or {}
    if "packages" in known:
        return
    if "git" not in known:
        known = keep_code(run, workdir)
    surroundings = {"packages": packages(), "python": platform.python_version(), "host": host()}
    write_json(run.provenance, known | surroundings)


def keep_code(run: RunDir, workdir: str) -> dict[str, Any]:
    """The code's commit, and uncommitted.diff where it differs from that. Of other code before it the record stays, numbered."""
    commit = git(workdir, "rev-parse", "HEAD")
    diff = git(workdir, "diff", "HEAD", "--no-color", "--no-ext-diff", "--binary") if commit else None
    untracked = git(workdir, "ls-files", "--others", "--exclude-standard") if commit else None
    found = {"commit": commit.strip(), "dirty": bool(diff), "untracked": (untracked or "").splitlines()} if commit else None
    kept = diff.encode() if diff and len(diff) <= DIFF_LIMIT_BYTES else b""
    before, earlier = read_json(run.provenance) or {}, run.diff.read_bytes() if run.diff.exists() else b""
    if "git" in before and ((before["git"] or {}).get("commit"), earlier) != ((found or {}).get("commit"), kept):
        number = 1 + sum(1 for _ in run.path.glob("provenance-*.json"))
        write_json(run.path / f"provenance-{number}.json", before)
        if earlier:
            run.diff.replace(run.diff.with_stem(f"{run.diff.stem}-{number}"))
    if kept:
        write_atomic(run.diff, kept)
    known = before | {"git": found}
    write_json(run.provenance, known)
    return known


def git(folder: str, *arguments: str) -> str | None:
    """Output of a git command, or None where there is no repository, no commit or no git."""
    try:
        done = subprocess.run(["git", "-C", folder, *arguments], capture_output=True, timeout=GIT_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace")


def packages() -> dict[str, str]:
    """Names and versions alone: parsing all that each METADATA says takes ten times as long (70 ms), while agents start."""
    texts = (each.read_text("METADATA") or each.read_text("PKG-INFO") or "" for each in metadata.distributions())
    found = (dict(HEADER.findall(text.partition("\n\n")[0])) for text in texts)
    return dict(sorted((each["Name"], each["Version"]) for each in found if {"Name", "Version"} <= each.keys()))


def host() -> dict[str, Any]:
    return {"name": socket.gethostname(), "system": platform.platform(), "cpu": cpu_name(), "gpus": gpu_names()}


def cpu_name() -> str | None:
    return first(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo"))


def gpu_names() -> list[str]:
    names = (first(r"Model:\s*(.+)", folder / "information") for folder in driver_gpus())
    return [name for name in names if name]


def first(pattern: str, path: Path) -> str | None:
    try:
        match = re.search(pattern, path.read_text())
    except OSError:
        return None
    return match[1].strip() if match else None
