"""What a training needs of a machine, looked at in the order in which it would fail."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from launcher.gpus import driver_gpus, visible_gpus
from launcher.spec import Job

Verdict = Literal["ok", "warning", "fails"]

PROBE_S = 120.0
"""Importing torch from a cold network file system takes a while."""
FULL_BYTES, NEARLY_FULL_BYTES = 200_000_000, 5_000_000_000
SHARED_MEMORY = "/dev/shm"  # noqa: S108  # no temporary file
SHARED_MEMORY_BYTES = 1_000_000_000
OPEN_FILES = 4096
SKEW_S = 2.0
SLOW_WRITE_S = 0.5

PROBE = """
import importlib.metadata as metadata, json, platform
def wanted():
    from packaging.requirements import Requirement
    for text in metadata.requires("launcher") or ():
        need = Requirement(text)
        if need.marker is None or need.marker.evaluate({"extra": ""}):
            try:
                have = metadata.version(need.name)
            except metadata.PackageNotFoundError:
                yield f"{need.name} is missing"
            else:
                if not need.specifier.contains(have, prereleases=True):
                    yield f"{need.name} {have} does not fit {need.specifier}"
facts = {"python": platform.python_version()}
try:
    facts["launcher"] = metadata.version("launcher")
    facts["lacking"] = list(wanted())
    import torch
    facts["torch"], facts["cuda"], facts["gpus"] = torch.__version__, torch.version.cuda, torch.cuda.device_count()
except Exception as error:
    facts["error"] = f"{type(error).__name__}: {error}".splitlines()[0]
print(json.dumps(facts))
"""
"""Asked of the interpreter that the ranks will have: nothing of it is imported here."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    what: str
    verdict: Verdict
    found: str
    remedy: str | None = None
    """What to do; None where nothing is to be done."""


def ok(what: str, found: str) -> Check:
    return Check(what=what, verdict="ok", found=found)


def warning(what: str, found: str, remedy: str) -> Check:
    return Check(what=what, verdict="warning", found=found, remedy=remedy)


def fails(what: str, found: str, remedy: str) -> Check:
    return Check(what=what, verdict="fails", found=found, remedy=remedy)


def machine(job: Job, runs: Path) -> Iterator[Check]:
    """All that can be seen of this machine."""
    yield from software(job, gpus_here=True)
    yield from run_directory(runs)
    yield from limits()


def software(job: Job, *, gpus_here: bool) -> Iterator[Check]:
    """Interpreter, packages and torch; whether torch sees the GPUs, where ranks run on this machine."""
    python = job.environment.python or sys.executable
    facts = probe(python)
    if "python" not in facts:
        yield fails("python", f"{python}: {facts['error']}", "set environment.python to an interpreter that all nodes have")
        return
    yield ok("python", f"{facts['python']} ({python})")
    if "launcher" not in facts:
        yield fails("packages", f"launcher is not installed for {python}", f"in launcher's folder: {python} -m pip install .")
        return
    lacking = facts.get("lacking", [])
    if lacking:
        yield fails("packages", "; ".join(lacking), f"in launcher's folder: {python} -m pip install --upgrade .")
    else:
        yield ok("packages", f"launcher {facts['launcher']} and all it wants")
    if "error" in facts:
        yield fails("torch", facts["error"], f"see all of it with: {python} -c 'import torch'")
        return
    yield ok("torch", facts["torch"] + (f" for CUDA {facts['cuda']}" if facts["cuda"] else " for the CPU alone"))
    if gpus_here:
        yield gpus(job, facts, driver=len(driver_gpus()))


def probe(python: str) -> dict[str, Any]:
    try:
        argv = [python, "-P", "-W", "ignore", "-c", PROBE]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=PROBE_S, check=False)
        return dict(json.loads(done.stdout.splitlines()[-1]))
    except OSError as error:
        return {"error": error.strerror or str(error)}
    except subprocess.TimeoutExpired:
        return {"error": f"did not import torch within {PROBE_S:g} s"}
    except (IndexError, ValueError):
        return {"error": (done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"])[-1]}


def gpus(job: Job, facts: dict[str, Any], *, driver: int) -> Check:
    """`driver`: how many the driver knows, whatever CUDA_VISIBLE_DEVICES leaves of them."""
    seen, named = facts["gpus"], os.environ.get("CUDA_VISIBLE_DEVICES")
    expected = driver if named is None else min(driver, len(visible_gpus()))
    if not expected and job.resources.device == "cuda":
        return fails("GPUs", "none, and resources.device asks for cuda", "write device: auto, or look with nvidia-smi")
    if not expected:
        return ok("GPUs", "none: ranks run on the CPU")
    if seen < expected:
        return fails(
            "GPUs",
            f"the driver has {expected}, and torch {facts['torch']} sees {seen}",
            "install a torch built for a CUDA that this driver knows (nvidia-smi shows the newest)",
        )
    return ok("GPUs", f"{seen}, as the driver says" + ("" if named is None else f" and CUDA_VISIBLE_DEVICES={named} leaves"))


def run_directory(runs: Path) -> Iterator[Check]:
    """Whether runs can be written there: for real, in the nearest folder that exists, with the lock that a supervisor takes."""
    there = next(each for each in (runs, *runs.parents) if each.is_dir())
    try:
        took_s, skew_s = written(there)
    except OSError as error:
        yield fails("run directory", f"cannot write and lock in {there}: {error.strerror}", "another one: --runs DIR")
        return
    if took_s > SLOW_WRITE_S:
        yield warning(
            "run directory", f"{runs}: a small file took {took_s:.1f} s", "checkpoints will be slow: another --runs DIR"
        )
    else:
        yield ok("run directory", f"{runs}: a file written, synced and locked in {1000 * took_s:.0f} ms")
    yield space(runs, shutil.disk_usage(there).free, os.statvfs(there))
    yield clock(skew_s)


def written(folder: Path) -> tuple[float, float]:
    """Seconds that a small file takes there, and how much the file system's clock is ahead. Raises OSError."""
    began = time.time()
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
        file.write(b"x" * 4096)
        file.flush()
        os.fsync(file.fileno())
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        now = time.time()
        return now - began, os.fstat(file.fileno()).st_mtime - now


def clock(ahead_s: float) -> Check:
    if abs(ahead_s) > SKEW_S:
        found = f"the file system's is {abs(ahead_s):.1f} s {'ahead of' if ahead_s > 0 else 'behind'} this machine's"
        return warning("clock", found, "times in a run's ledger will jump: let NTP set both")
    return ok("clock", f"{time.strftime('%Y-%m-%d %H:%M:%S %Z')}; the file system has the same")


def space(runs: Path, free: int, system: os.statvfs_result) -> Check:
    room = f"{free / 1e9:.1f} GB free"
    if free < FULL_BYTES or (system.f_files > 0 and system.f_favail == 0):
        return fails("disk", f"{room}, {system.f_favail} files left at {runs}", "launch rm old runs, or --runs DIR elsewhere")
    if free < NEARLY_FULL_BYTES:
        return warning("disk", room, "enough for small models: lower checkpoint.keep_last, or launch rm old runs")
    return ok("disk", room)


def limits() -> Iterator[Check]:
    yield shared_memory()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < OPEN_FILES:
        higher = hard == resource.RLIM_INFINITY or hard >= OPEN_FILES
        remedy = f"ulimit -n {OPEN_FILES}" if higher else f"the hard limit is {hard} too: ask for more in limits.conf"
        yield warning("open files", f"{soft} per process", f"{remedy}; loader processes and sockets need many")
    else:
        yield ok("open files", "no limit" if soft == resource.RLIM_INFINITY else f"{soft} per process")


def shared_memory() -> Check:
    try:
        free = shutil.disk_usage(SHARED_MEMORY).free
    except OSError as error:
        return fails(SHARED_MEMORY, str(error.strerror), "mount a tmpfs there: loader processes and NCCL share memory in it")
    if free < SHARED_MEMORY_BYTES:
        return warning(SHARED_MEMORY, f"{free / 1e6:.0f} MB free", "docker run --shm-size 8g, or data.num_workers: 0")
    return ok(SHARED_MEMORY, f"{free / 1e9:.1f} GB free")
