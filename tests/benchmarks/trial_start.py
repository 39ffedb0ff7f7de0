"""From the decision to a trial's first step, in a sweep, against `launch` of the same job. Reach: <= 0.25x.

python tests/benchmarks/trial_start.py [TRIALS]
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from paired import told

JOB = """
name: small
resources: {procs_per_node: 1, threads: 1, device: cpu}
train:
  model: {target: mlp, in_features: 64, hidden: [8], out_features: 10}
  loss: cross_entropy
  optimizer: {target: sgd, lr: 0.1}
  data: {train: {target: digits, flatten: true}, val: {target: digits, split: val, flatten: true}, batch_size: 128}
  epochs: 1
log: {plots: false}
"""
SWEEP = """
extends: job.yaml
sweep: {method: grid, metric: val/loss, goal: minimize, parallel: 1, parameters: {seed: [%s]}}
"""


def moments(run: Path, event: str) -> list[tuple[dict[str, object], float]]:
    entries = map(json.loads, (run / "events.jsonl").read_text().splitlines())
    return [(entry, datetime.fromisoformat(entry["time"]).timestamp()) for entry in entries if entry["event"] == event]


def main() -> None:
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 8
    launch = str(Path(sys.executable).with_name("launch"))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "job.yaml").write_text(JOB)
        (folder / "sweep.yaml").write_text(SWEEP % ", ".join(map(str, range(trials + 1))))
        fresh = []
        for _ in range(trials):
            began = time.time()
            subprocess.run([launch, "job.yaml"], cwd=folder, check=True, capture_output=True)
            run = max((folder / "runs").iterdir())
            fresh.append(moments(run, "running")[0][1] - began)
        subprocess.run([launch, "sweep.yaml", "--runs", "sweeps"], cwd=folder, check=True, capture_output=True)
        [sweep] = (folder / "sweeps").iterdir()
        decided = {entry["trial"]: at for entry, at in moments(sweep, "trying")}
        warm = [moments(sweep / "trials" / str(each), "running")[0][1] - decided[each] for each in range(1, trials + 1)]
    print(f"launch of the job to its first step   {told(fresh)} over {len(fresh)}")
    print(f"decision to a trial's first step      {told(warm)} over {len(warm)}")
    print(f"start of a trial: {statistics.median(warm) / statistics.median(fresh):.3f}x")


main()
