"""What this node is and has, told before anything starts there: nodes that differ train nonsense, or fail much later.

Checksums, not hashes: they find an accident, and OpenSSL is 3 MB that an agent need not carry.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path

import launcher
from launcher.gpus import visible_gpus
from launcher.protocol import Facts
from launcher.rundir import RunDir

MOST_FILES = 2000
MOST_BYTES = 20_000_000
MOST_FOLDERS = 5000
"""A folder with data in it may have very many."""
SKIPPED = ("__pycache__", "node_modules", "site-packages")
VERSION = re.compile(r"^__version__[^=]*= *['\"]([^'\"]+)", re.MULTILINE)


def gather(agent: int, run: RunDir, code: str | None, environ: Mapping[str, str], cpus: int) -> Facts:
    """`code`: the folder whose Python files are compared, if any."""
    checked = None if code is None else code_checksum(Path(code), run.path)
    return {
        "kind": "facts", "agent": agent, "launcher": launcher.__version__, "python": platform.python_version(),
        "torch": version_of_torch(), "job": checksum(run.job), "code": checked,
        "cpus": cpus, "gpus": len(visible_gpus(environ)),
    }  # fmt: skip


def version_of_torch() -> str | None:
    """Without importing it."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    with suppress(OSError):
        found = VERSION.search((Path(spec.origin).parent / "version.py").read_text())
        return found[1] if found else None
    return None


def checksum(path: Path) -> str | None:
    with suppress(OSError):
        return f"{zlib.crc32(path.read_bytes()):08x}"
    return None


def code_checksum(folder: Path, run: Path) -> str | None:
    """Of the Python files in a folder, by name and content; of the first ones where there are very many."""
    total, count, size = 0, 0, 0
    for path in python_files(folder, run):
        if count == MOST_FILES or size > MOST_BYTES:
            break
        with suppress(OSError):
            text = path.read_bytes()
            total = zlib.crc32(text, zlib.crc32(os.fsencode(path.relative_to(folder)), total))
            count, size = count + 1, size + len(text)
    return f"{total:08x}" if count else None


def python_files(folder: Path, run: Path) -> Iterator[Path]:
    """In an order that is the same everywhere; no hidden folders, no environments, nothing behind links, no runs."""
    for place, folders, files in islice(os.walk(folder), MOST_FOLDERS):
        inside = (name for name in folders if not name.startswith(".") and name not in SKIPPED)
        folders[:] = sorted(name for name in inside if not skipped(Path(place) / name, run))
        yield from (Path(place) / name for name in sorted(files) if name.endswith(".py"))


def skipped(folder: Path, run: Path) -> bool:
    return folder == run.parent or (folder / "pyvenv.cfg").exists()
