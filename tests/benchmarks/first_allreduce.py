"""From the command to the first all-reduce, and to the exit: a trivial script on two ranks, against torchrun.

Reach: <= 0.55x and <= 0.42x; with two agents (`--nodes 2`) the same against torchrun's one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from paired import in_turn, report

SCRIPT = """
import os, time
import torch, torch.distributed as dist
dist.init_process_group("gloo")
dist.all_reduce(torch.ones(1))
if dist.get_rank() == 0:
    with open(os.environ["MARK"], "w") as file:
        file.write(repr(time.time()))
dist.barrier()
dist.destroy_process_group()
"""
PAIRS = 6


class Trial:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mark = folder / "mark"
        self.script = folder / "script.py"
        self.script.write_text(SCRIPT)
        self.reduced: dict[str, list[float]] = {}

    def time(self, name: str, argv: list[str]) -> float:
        """Seconds to the exit; those to the all-reduce are kept under `name`."""
        began = time.time()
        environment = {**os.environ, "MARK": str(self.mark)}
        subprocess.run(argv, check=True, cwd=self.folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        ended = time.time()
        self.reduced.setdefault(name, []).append(float(self.mark.read_text()) - began)
        return ended - began


def compare(nodes: int, procs: int) -> None:
    launch = str(Path(sys.executable).with_name("launch"))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "script.py"]
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(Path(folder))
        spec = trial.folder / "job.yaml"
        spec.write_text(f"run: {{script: script.py}}\nresources: {{nodes: {nodes}, procs_per_node: {procs}, device: cpu}}\n")
        ours, theirs = in_turn(
            lambda: trial.time("ours", [launch, str(spec)]), lambda: trial.time("torchrun", torchrun), pairs=PAIRS
        )  # fmt: skip
        names = (f"launch, {nodes} agent(s)", "torchrun, 1 agent")
        report("to the first all-reduce", trial.reduced["ours"][1:], trial.reduced["torchrun"][1:], names)
        report("to the exit", ours, theirs, names)


def main() -> None:
    compare(nodes=1, procs=2)
    compare(nodes=2, procs=1)


main()
