"""From kill -9 of a rank to the first all-reduce of the next attempt, against torchrun. Reach: <= 0.05x, no hang.

python tests/benchmarks/restart.py [KILLS]      (200 for the full number; torchrun takes 6, started anew after each hang)
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from paired import told

SCRIPT = """
import os, time
import torch, torch.distributed as dist
dist.init_process_group("gloo")
mark = os.environ["MARK"]
first = True
while True:
    dist.all_reduce(torch.ones(1))
    if first and dist.get_rank() == 0:
        with open(mark + ".tmp", "w") as file:
            file.write(repr(time.time()))
        os.replace(mark + ".tmp", mark)
    if dist.get_rank() == 1 and first:
        with open(mark + ".pid.tmp", "w") as file:
            file.write(str(os.getpid()))
        os.replace(mark + ".pid.tmp", mark + ".pid")
    if first:
        try:
            import launcher
            launcher.pulse(int(time.time() * 1000))
        except ImportError:
            pass
    first = False
    time.sleep(0.001)
"""
HANG_S = 30.0
"""Until the next attempt counts as hung."""


def with_hangs(argv: list[str], folder: Path, kills: int) -> tuple[list[float], int]:
    """The same over so many kills, with a new start after each that hung."""
    taken: list[float] = []
    hung = 0
    while len(taken) + hung < kills:
        (folder / "mark").unlink(missing_ok=True)
        (folder / "mark.pid").unlink(missing_ok=True)
        more, hangs = restarts(argv, folder, kills - len(taken) - hung)
        taken, hung = taken + more, hung + hangs
    return taken, hung


def restarts(argv: list[str], folder: Path, kills: int) -> tuple[list[float], int]:
    """Seconds from each kill to the next attempt's all-reduce, and how many never came."""
    mark, pid = folder / "mark", folder / "mark.pid"
    process = subprocess.Popen(argv, cwd=folder, env={**os.environ, "MARK": str(mark)}, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
    taken: list[float] = []
    try:
        for _ in range(kills):
            if not (appears(mark) and appears(pid)):
                return taken, 1
            victim = int(pid.read_text())
            mark.unlink()
            pid.unlink()
            time.sleep(0.05)
            killed = time.time()
            os.kill(victim, signal.SIGKILL)
            if not appears(mark):
                return taken, 1
            taken.append(float(mark.read_text()) - killed)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return taken, 0


def appears(path: Path) -> bool:
    deadline = time.monotonic() + HANG_S
    while not path.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


def main() -> None:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    launch = str(Path(sys.executable).with_name("launch"))
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        "--max-restarts=1000",
        "script.py",
    ]
    medians = {}
    for name, argv, count in (("launch", [launch, "job.yaml"], kills), ("torchrun", torchrun, min(kills, 6))):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            (folder / "script.py").write_text(SCRIPT)
            (folder / "job.yaml").write_text(
                "run: {script: script.py, stop_grace: 1s}\n"
                "resources: {procs_per_node: 2, device: cpu}\nretry: {max_restarts: 1000}\n"
            )
            taken, hung = with_hangs(argv, folder, count)
        if not taken:
            print(f"{name:<10} hung at each of {hung} kills")
            continue
        medians[name] = statistics.median(taken)
        print(f"{name:<10} {told(taken)}, {hung} of {len(taken) + hung} kills hung")
    if len(medians) == 2:
        print(f"restart: {medians['launch'] / medians['torchrun']:.3f}x")


main()
