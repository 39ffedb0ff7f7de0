"""What a cluster has, by partition, against what a job asks for: Slurm lets jobs wait for ever that can never start."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from launcher.backends.slurm.queue import slurm
from launcher.errors import BackendError
from launcher.spec import Job

FORMAT = "%P|%F|%l|%a|%M"
"""For `sinfo -s`: name (the default one with a star), allocated/idle/other/total nodes, time limit, availability, preemption."""


@dataclass(frozen=True, kw_only=True)
class Partition:
    name: str
    nodes: int
    idle: int
    """Of the nodes."""
    limit: str
    """As Slurm writes it."""
    preemption: str
    default: bool
    up: bool

    @property
    def limit_s(self) -> float | None:
        """None where a job may run for ever."""
        return seconds(self.limit)

    def __str__(self) -> str:
        limit = "no time limit" if self.limit_s is None else f"at most {clock(self.limit_s)}"
        return f"{self.name} ({self.nodes} nodes, {limit}{'' if self.up else ', down'})"


def partitions() -> list[Partition]:
    """Raises BackendError where Slurm does not answer."""
    return list(read(slurm("sinfo", "--noheader", "--summarize", f"--format={FORMAT}")))


def read(text: str) -> Iterator[Partition]:
    for line in text.split("\n"):
        if line.count("|") == FORMAT.count("|"):
            name, counts, limit, available, preemption = line.split("|")
            _, idle, _, nodes = map(int, counts.split("/"))
            yield Partition(
                name=name.rstrip("*"), nodes=nodes, idle=idle, limit=limit, preemption=preemption.lower(),
                default=name.endswith("*"), up=available == "up",
            )  # fmt: skip


def seconds(text: str) -> float | None:
    """`1-02:03:04`, `02:03:04`, `03:04`, `infinite`."""
    if not re.fullmatch(r"(\d+-)?\d+(:\d+){0,2}", text):
        return None
    days, _, rest = text.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    hours, minutes, whole = [0] * (3 - len(parts)) + parts
    return int(days or 0) * 86400 + hours * 3600 + minutes * 60 + whole


def clock(limit_s: float) -> str:
    minutes = int(limit_s // 60)
    return (
        f"{minutes // 1440}-{minutes // 60 % 24:02}:{minutes % 60:02}:00"
        if minutes >= 1440
        else f"{minutes // 60:02}:{minutes % 60:02}:00"
    )


def fitting(job: Job, there: Sequence[Partition]) -> list[Partition]:
    """Those that the job may have; none where the site decides by other means than a default one.

    Raises BackendError where none of them can ever hold it, with what there is.
    """
    wants = job.resources
    names = wants.slurm.partition.split(",") if wants.slurm.partition else []
    for name in names:
        if name not in (each.name for each in there):
            near = get_close_matches(name, [each.name for each in there], n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise BackendError(f"there is no partition '{name}'.{hint} There are: {listed(there)}")
    mine = [each for each in there if each.name in names or (not names and each.default)]
    if not mine:
        return mine
    nodes = wants.fewest + wants.spares
    if nodes > max(each.nodes for each in mine):
        spares = f" ({wants.spares} of them spare)" if wants.spares else ""
        raise BackendError(
            f"the job asks for {nodes} nodes{spares}, and it would wait for ever: {listed(mine)}. {others(nodes, there)}"
        )
    limits = [each.limit_s for each in mine]
    if wants.time is not None and None not in limits and wants.time.seconds > max(filter(None, limits)):
        raise BackendError(
            f"resources.time is {wants.time}, more than its partition allows, and the job would wait for ever: {listed(mine)}. "
            "Write a shorter time: a run goes on in further jobs until it is done. Or take another of: "
            f"{listed([each for each in there if each not in mine])}"
        )
    return mine


def others(nodes: int, there: Sequence[Partition]) -> str:
    enough = [each for each in there if each.nodes >= nodes]
    return f"Large enough: {listed(enough)}" if enough else "No partition has as many: ask for fewer with --nodes"


def listed(partitions: Sequence[Partition]) -> str:
    return ", ".join(map(str, partitions)) or "no other"
