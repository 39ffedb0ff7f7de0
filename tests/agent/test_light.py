"""The agent stays light: it is on every node, beside the training."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from tests.agent.conftest import Job

LIMIT_MB = 18
ONE_GOES_ON = "import os, time\nif os.environ['RANK'] == '1':\n    time.sleep(600)"
LISTING = (
    "import sys, launcher.agent.__main__; print(*sorted(name for name in sys.modules if '.' not in name or 'launcher.' in name))"
)


def test_it_imports_the_standard_library_and_its_own_floor_alone() -> None:
    listed = subprocess.run([sys.executable, "-P", "-c", LISTING], capture_output=True, text=True, check=True).stdout.split()
    plain = subprocess.run(
        [sys.executable, "-P", "-c", "import sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    foreign = {
        name for name in listed if name not in sys.stdlib_module_names and not name.startswith(("launcher", "_sysconfigdata"))
    }
    assert foreign <= {name.partition(".")[0] for name in plain.stdout.split()} | {"__mp_main__"}
    ours = {name for name in listed if name.startswith("launcher.") and not name.startswith("launcher.agent")}
    floor = {"errors", "gpus", "protocol", "rank", "references", "rundir", "topology"}
    assert ours <= {f"launcher.{name}" for name in floor}


def test_its_memory(job: Job) -> None:
    supervisor = job()
    supervisor.start()
    supervisor.codes()
    pid = supervisor.hear("hello")[0]["pid"]
    status = Path(f"/proc/{pid}/status").read_text()
    kilobytes = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    assert kilobytes < LIMIT_MB * 1024


def test_it_sleeps_while_one_rank_has_ended_and_another_goes_on(job: Job) -> None:
    supervisor = job(ONE_GOES_ON)
    supervisor.start(ranks=2)
    supervisor.hear("exited", rank=0)
    pid = supervisor.hear("hello")[0]["pid"]
    # It spent all 100 when ended ranks kept waking it; a slow machine's pulse takes 7.
    assert min(spent_in_a_second(pid) for _ in range(3)) <= 20


def spent_in_a_second(pid: int) -> int:
    """In ticks of 10 ms."""
    before = cpu_ticks(pid)
    time.sleep(1)
    return cpu_ticks(pid) - before


def cpu_ticks(pid: int) -> int:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return int(user) + int(system)
