"""`launch list` and `launch status` with 1,000 runs of 60 events and 500 logged rows. Reach: <= 1.0 s.

python tests/benchmarks/status_many.py [RUNS]
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from paired import told

from launcher.load import dump_job, parse_job
from launcher.plan import Cluster, Machine, make_plan, settle
from launcher.rundir import RunDir, write_json

LAUNCH = str(Path(sys.executable).with_name("launch"))
EVENTS = 60
ROWS = 500
TIMES = 5


def make(runs: Path, count: int) -> None:
    job = parse_job("name: j\nrun: {program: ['true']}")
    plan = make_plan(job, Cluster(backend="slurm", machines=(Machine(host="n1", address="n1", cpus=(0, 1)),), python="python3"))
    text = dump_job(settle(job, plan))
    for number in range(count):
        run = RunDir(runs / f"20260101-{number // 3600:02}{number // 60 % 60:02}{number % 60:02}-j-aaaa")
        run.path.mkdir(parents=True)
        run.job.write_text(text)
        write_json(run.plan, plan.to_json(), durable=False)
        run.events.write_text("".join(json.dumps(event(each)) + "\n" for each in range(EVENTS)))
        run.metrics.write_text("".join(json.dumps({"step": each, "train/loss": 0.5}) + "\n" for each in range(ROWS)))
        run.timings.write_text("".join(json.dumps(timing(each)) + "\n" for each in range(ROWS)))


def event(number: int) -> dict[str, object]:
    kinds = {0: "prepared", 1: "supervising", 2: "attempt", 3: "running", EVENTS - 1: "done"}
    return {"time": f"2026-01-01T00:{number // 60:02}:{number % 60:02}.000+00:00", "event": kinds.get(number, "checkpoint"),
            "attempt": 1, "step": number}  # fmt: skip


def timing(step: int) -> dict[str, object]:
    return {"step": step, "attempt": 1, "samples_per_s": 505.1, "step_s": [0.25], "data_share": [0.01], "compute_s": [0.2],
            "checkpoint_s": 0.0, "evaluation_s": 0.0, "memory_mb": 512.3}  # fmt: skip


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder) / "runs", count)
        for words in (("list", "--json"), ("list",), ("status", "last")):
            taken = []
            for _ in range(TIMES + 1):
                began = time.perf_counter()
                subprocess.run([LAUNCH, *words], cwd=folder, check=True, stdout=subprocess.DEVNULL)
                taken.append(time.perf_counter() - began)
            print(f"launch {' '.join(words):<14} {told(taken[1:])} of {count} runs")


main()
