"""Which machines a job names, in its list or in a host file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from launcher.errors import UsageError
from launcher.spec import Job
from launcher.spec.hosts import Host, parse_host

SLOTS = re.compile(r"slots\s*=\s*(\d+)")
"""As in the host files of MPI and DeepSpeed: `gpu1 slots=4`."""


def named_hosts(job: Job) -> list[Host]:
    """In the order in which they are written: the first are the first to take part. Raises UsageError."""
    given = job.resources.hosts
    if not given:
        raise UsageError("resources.hosts: the hosts backend needs machines: a list of [user@]host[:slots], or a host file")
    if isinstance(given, str):
        return read_host_file(Path(job.workdir) / given)
    return distinct([parse_host(text) for text in given], "resources.hosts")


def read_host_file(path: Path) -> list[Host]:
    """One machine a line, `#` begins a comment. Raises UsageError with file and line."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        what = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UsageError(f"resources.hosts: cannot read the host file {path}: {what}. Relative paths start at workdir") from None
    hosts = distinct(list(host_lines(text.splitlines(), path)), str(path))
    if not hosts:
        raise UsageError(f"resources.hosts: {path} names no machine: write one [user@]host[:slots] in each line")
    return hosts


def host_lines(lines: Iterable[str], path: Path) -> Iterator[Host]:
    for number, line in enumerate(lines, start=1):
        name, *rest = line.partition("#")[0].split(None, 1) or [""]
        slots = SLOTS.fullmatch(rest[0].strip()) if rest else None
        if rest and slots is None:
            raise UsageError(f"{path}:{number}: after the host only slots=N may stand, got '{rest[0].strip()}'")
        if name:
            try:
                yield parse_host(f"{name}:{slots[1]}" if slots else name)
            except ValueError as error:
                raise UsageError(f"{path}:{number}: {error}") from None


def distinct(hosts: Sequence[Host], source: str) -> list[Host]:
    seen: set[str] = set()
    for host in hosts:
        if host.destination in seen:
            raise UsageError(f"{source}: {host.destination} is named twice. Write {host.destination}:2 for two ranks on it")
        seen.add(host.destination)
    return list(hosts)
