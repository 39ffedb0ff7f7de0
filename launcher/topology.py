"""Which cores each rank of a node is kept to: whole ones near its GPU. Read from /sys, divided by a pure function."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.gpus import NVIDIA

NAMES_OF_GPUS = ("SLURM_STEP_GPUS", "SLURM_JOB_GPUS", "CUDA_VISIBLE_DEVICES")
"""The first that is set tells which GPUs are ours. Slurm's own come first: inside its device cgroup CUDA counts from 0 anew."""


@dataclass(frozen=True, kw_only=True)
class Core:
    domain: int
    """NUMA node."""
    cpus: tuple[int, ...]
    """Its usable threads, by the kernel's numbers."""


@dataclass(frozen=True, kw_only=True)
class Topology:
    cores: tuple[Core, ...]
    """Those that may be used, in the order of their NUMA nodes."""
    gpus: tuple[int | None, ...] = ()
    """The NUMA node of each GPU that the ranks see, in their order; None where it is not known."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Topology:
        cores = tuple(Core(domain=domain, cpus=tuple(cpus)) for domain, cpus in data["cores"])
        return cls(cores=cores, gpus=tuple(data["gpus"]))

    @property
    def cpus(self) -> int:
        return sum(len(core.cpus) for core in self.cores)


Share = tuple[int, ...]
"""CPUs that a rank is kept to."""


def shares(topology: Topology, ranks: int, *, threads: int = 1) -> tuple[Share, ...] | None:
    """Each local rank's; None where there are fewer cores than ranks, which is then left to the kernel.

    A rank has the cores of its GPU's NUMA node, divided among the ranks there. Where that leaves fewer CPUs than `threads`, the
    ranks of a NUMA node share all of it; where a rank's NUMA node has no core that may be used, all are divided evenly.
    """
    cores = topology.cores if len(topology.cores) >= ranks else single_threads(topology)
    if len(cores) < ranks:
        return None
    near = topology.gpus[:ranks]
    domains = {core.domain for core in cores}
    if len(near) < ranks or not set(near) <= domains:
        return tuple(map(flat, divided(cores, ranks)))
    found: dict[int, Share] = {}
    for domain in domains & set(near):
        own = [core for core in cores if core.domain == domain]
        there = [rank for rank in range(ranks) if near[rank] == domain]
        parts = [flat(part) for part in divided(own, len(there))]
        enough = all(len(part) >= threads for part in parts) and len(own) >= len(there)
        found |= zip(there, parts if enough else [flat(own)] * len(there), strict=True)
    return tuple(found[rank] for rank in range(ranks))


def single_threads(topology: Topology) -> tuple[Core, ...]:
    """Each hardware thread for a core of its own."""
    return tuple(Core(domain=core.domain, cpus=(cpu,)) for core in topology.cores for cpu in core.cpus)


def divided(cores: Sequence[Core], parts: int) -> list[Sequence[Core]]:
    """Even and contiguous: so a rank's cores lie in one NUMA node where the numbers allow it."""
    return [cores[part * len(cores) // parts : (part + 1) * len(cores) // parts] for part in range(parts)]


def flat(cores: Sequence[Core]) -> Share:
    return tuple(sorted(cpu for core in cores for cpu in core.cpus))


def read_topology(usable: Collection[int], environ: Mapping[str, str], root: Path = Path("/")) -> Topology:
    """This machine's, as far as `usable` CPUs go. What /sys does not tell is taken for one NUMA node, a core for each CPU."""
    domain_of = dict(domains(root))
    siblings: dict[tuple[int, ...], list[int]] = {}
    for cpu in sorted(usable):
        siblings.setdefault(threads_of_core(cpu, root), []).append(cpu)
    cores = [Core(domain=domain_of.get(cpus[0], 0), cpus=tuple(cpus)) for cpus in siblings.values()]
    ordered = tuple(sorted(cores, key=lambda core: (core.domain, core.cpus)))
    return Topology(cores=ordered, gpus=tuple(gpus_near(environ, root)))


def domains(root: Path) -> Iterator[tuple[int, int]]:
    """CPU -> NUMA node."""
    for folder in (root / "sys/devices/system/node").glob("node[0-9]*"):
        for cpu in numbers(text(folder / "cpulist")):
            yield cpu, int(folder.name.removeprefix("node"))


def threads_of_core(cpu: int, root: Path) -> tuple[int, ...]:
    told = text(root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    return tuple(numbers(told)) or (cpu,)


def gpus_near(environ: Mapping[str, str], root: Path) -> Iterator[int | None]:
    """The NUMA node of each GPU that is ours, in CUDA's order of identical GPUs: that of their bus addresses."""
    there = [gpu(folder, index, root) for index, folder in enumerate(sorted((root / NVIDIA.relative_to("/")).glob("*")))]
    named = next((environ[name] for name in NAMES_OF_GPUS if environ.get(name) is not None), None)
    if named is None:
        yield from (domain for _, domain in there)
        return
    for wanted in filter(None, map(str.strip, named.split(","))):
        yield next((domain for names, domain in there if wanted in names or any(is_uuid(wanted, name) for name in names)), None)


def gpu(folder: Path, index: int, root: Path) -> tuple[tuple[str, ...], int | None]:
    """Its names (number, UUID) and its NUMA node."""
    told = text(folder / "information")
    uuid = re.search(r"GPU UUID:\s*(\S+)", told)
    node = text(root / f"sys/bus/pci/devices/{folder.name.lower()}/numa_node")
    domain = int(node) if re.fullmatch(r"-?\d+", node) else -1
    # A machine with one NUMA node says -1.
    return (str(index), *([uuid[1]] if uuid else [])), max(domain, 0)


def is_uuid(wanted: str, name: str) -> bool:
    """CUDA takes a UUID's unique beginning too."""
    return wanted.startswith("GPU-") and name.startswith(wanted)


def numbers(spans: str) -> list[int]:
    """`0-3,8` -> 0 1 2 3 8."""
    found: list[int] = []
    for span in filter(None, spans.split(",")):
        first, _, last = span.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def text(path: Path) -> str:
    with suppress(OSError):
        return path.read_text().strip()
    return ""
