"""`launch SPEC` on Slurm, until the job is in the queue and the command has returned. Reach: <= 1.0 s."""

from __future__ import annotations

import subprocess
import sys
import time

from on_slurm import LAUNCH, cluster
from paired import told


def main() -> None:
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    taken = []
    with cluster() as (lab, work):
        (work / "job.yaml").write_text(
            "resources: {time: 10m, slurm: {extra: ['--hold']}}\nrun: {script: program.py, args: ['.', '0']}\n"
        )
        for _ in range(times + 1):
            began = time.perf_counter()
            subprocess.run(
                [LAUNCH, "job.yaml", "--backend", "slurm"], cwd=work, env=lab.environment, check=True, capture_output=True
            )
            taken.append(time.perf_counter() - began)
        waiting = len(lab.run("squeue", "-h").splitlines())
        lab.run("scancel", "--user=root")
    print(f"launch to the job in the queue: {told(taken[1:])} over {times}, {waiting} jobs in the queue")


main()
