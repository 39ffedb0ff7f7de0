"""On Slurm, from kill -9 of a rank to the next attempt's first all-reduce, against torchrun under srun. Reach: <= 0.10x.

python tests/benchmarks/slurm_restart.py [KILLS]      (5)
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path

from on_slurm import LAUNCH, cluster, told_at
from paired import told

HANG_S = 40.0
NODES = ("salloc", "--quiet", "--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=2")


def restarts(argv: list[str], folder: Path, work: Path, kills: int, env: dict[str, str]) -> list[float]:
    """Seconds of each; fewer than `kills` where an attempt never came."""
    folder.mkdir()
    process = subprocess.Popen([*NODES, *argv], cwd=work, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    taken = []
    try:
        for kill in range(1, kills + 1):
            killed = told_at(folder / f"killed-{kill}", HANG_S)
            taken.append(told_at(folder / f"step-{kill + 1}", HANG_S) - killed)
    except TimeoutError:
        process.terminate()
    (folder / "stop").touch()
    process.wait(60)
    return taken


def main() -> None:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with cluster() as (lab, work):
        ours, theirs = work / "ours", work / "theirs"
        (work / "job.yaml").write_text(
            "resources: {nodes: 2, procs_per_node: 1, device: cpu, snapshot: false}\nretry: {max_restarts: 1000}\n"
            f"run: {{script: program.py, args: ['{ours}', '{kills}']}}\n"
        )
        # The first node's own shell knows its name, which is where torchrun's rendezvous has to be.
        torchrun = (
            f"exec srun --overlap --ntasks-per-node=1 --cpu-bind=none {sys.executable} -m torch.distributed.run --nnodes=2 "
            "--nproc-per-node=1 --max-restarts=1000 --rdzv-backend=c10d --rdzv-id=1 "
            f'--rdzv-endpoint=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -1):29511 program.py {theirs} {kills}'
        )
        mine = restarts([LAUNCH, "job.yaml"], ours, work, kills, lab.environment)
        other = restarts(["bash", "-c", torchrun], theirs, work, kills, lab.environment)
    print(f"  launch   {told(mine)}, {kills - len(mine)} hung\n  torchrun {told(other)}, {kills - len(other)} hung")
    print(f"rank killed to the next attempt's all-reduce, 2 nodes: {statistics.median(mine) / statistics.median(other):.3f}x")


main()
