"""On Slurm, from a death to the next attempt's first all-reduce, for each thing that can die.

Reach: a lost node < 15 s with a spare, < 30 s without one. `python what_dies.py agent supervisor` measures these alone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from on_slurm import LAUNCH, cluster, told_at

from tests.slurm.cluster import Cluster

Kill = Callable[[Cluster, str, str], None]


def processes(lab: Cluster, host: str, word: bytes) -> list[int]:
    """Those of a node whose command holds the word, the youngest last."""
    found = [pid for pid in lab.nodes[host].processes() if word in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return sorted(found, key=lambda pid: int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]))


def kill_agent(lab: Cluster, _first: str, second: str) -> None:
    os.kill(processes(lab, second, b"launcher.agent\0--id")[-1], signal.SIGKILL)


def kill_supervisor(lab: Cluster, first: str, _second: str) -> None:
    os.kill(processes(lab, first, b"supervise")[-1], signal.SIGKILL)


DEATHS: dict[str, tuple[int, Kill]] = {
    "agent": (0, kill_agent),
    "supervisor": (0, kill_supervisor),
    "node, with a spare": (1, lambda lab, _, second: lab.crash(second)),
    "node, without a spare": (0, lambda lab, _, second: lab.crash(second)),
    "node that freezes, with a spare": (1, lambda lab, _, second: lab.nodes[second].freeze()),
    "link that is cut, with a spare": (1, lambda lab, _, second: lab.cut(second)),
    "batch host": (0, lambda lab, first, _: lab.crash(first)),
}
"""What dies -> how many spares there are, and how it is killed, given the first and the second node."""


def measured(lab: Cluster, work: Path, what: str) -> float:
    """Seconds."""
    spares, kill = DEATHS[what]
    folder = work / "marks"
    folder.mkdir()
    (work / "job.yaml").write_text(
        f"resources: {{nodes: 2, spares: {spares}, procs_per_node: 1, device: cpu, time: 30m, snapshot: false,"
        f" slurm: {{cpus_per_proc: 2}}}}\nrun: {{script: program.py, args: ['{folder}', '0']}}\n"
    )
    environment = {**lab.environment, "XDG_STATE_HOME": str(work / "state")}
    command = [LAUNCH, "job.yaml", "--backend", "slurm"]
    subprocess.run(command, cwd=work, env=environment, check=True, capture_output=True)
    told_at(folder / "step-1")
    time.sleep(3)  # until the successor is queued
    hosts = lab.run("squeue", "-h", "-t", "R", "-o", "%N").split()[0]
    first, second, *_ = lab.run("scontrol", "show", "hostnames", hosts).split()
    died = time.time()
    kill(lab, first, second)
    taken = told_at(folder / "step-2", patience_s=180) - died
    (folder / "stop").touch()
    lab.run("scancel", "--user=root")
    return taken


def main() -> None:
    chosen = [what for what in DEATHS if what.split(",")[0].split(" ")[0] in sys.argv[1:]] if sys.argv[1:] else list(DEATHS)
    for what in chosen:
        with cluster() as (lab, work):
            print(f"{what}: {measured(lab, work, what):.1f} s to the next all-reduce", flush=True)


main()
