"""`python -m launcher.worker.views.sync RUN_DIR EXIT_CODE`: sends W&B the rows that it lacks; says how it went in its last line.

From metrics.jsonl, not by replaying the offline segments: those of two attempts overlap, and W&B would append their rows twice.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from launcher.load import load_job
from launcher.rundir import RunDir
from launcher.spec.log import Wandb
from launcher.worker.views.follow import Follower, values
from launcher.worker.views.weights_and_biases import disconnect, endpoint, has_key, init, probe


def sync(run: RunDir, exit_code: int) -> dict[str, Any]:
    """What was sent, or `error` in words."""
    job = load_job(run.job)
    url = endpoint()
    if not has_key():
        return {"error": f"there is no key for {url}: 'wandb login', or WANDB_API_KEY in the environment"}
    try:
        probe(url)
    except OSError as error:
        return {"error": f"{url} does not answer ({error}): try again from a machine with a network, or set WANDB_BASE_URL"}
    segments = list(run.wandb.glob("offline-run-*"))
    rows = Follower(run.metrics).rows()
    there = init(run, job.log.wandb or Wandb(), job.model_dump(mode="json", exclude={"env"}), "online")
    lacking = [row for row in rows if row["step"] >= there.starting_step]
    for row in lacking:
        there.log(values(row), step=row["step"], commit=True)
    address = there.url
    there.finish(exit_code=exit_code)
    disconnect()
    for segment in segments:
        mark(segment)
    return {"sent": len(lacking), "rows": len(rows), "segments": len(segments), "url": address}


def mark(segment: Path) -> None:
    """As `wandb sync` does, which then passes it over."""
    for file in segment.glob("*.wandb"):
        file.with_name(f"{file.name}.synced").touch()


if __name__ == "__main__":
    os.environ["WANDB_SILENT"] = "true"
    try:
        answer = sync(RunDir(sys.argv[1]), int(sys.argv[2]))
    except Exception as error:  # whatever W&B raises is its own affair
        answer = {"error": f"W&B did not take it: {type(error).__name__}: {error}"}
    print("\n" + json.dumps(answer), flush=True)
    os._exit(0)  # W&B's own handlers at exit wait for its endpoint, for as long as that takes
