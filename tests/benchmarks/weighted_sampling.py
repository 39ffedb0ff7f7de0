"""Weighted sampling with replacement of 1e8 samples: seconds to the first batch and memory, ours and torch's, each in a process.

python tests/benchmarks/weighted_sampling.py [--samples 100_000_000] [--pairs 3]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.benchmarks.paired import report

BATCH = 128


def ours(path: str) -> None:
    """From the weights in their file to a batch in the middle of an epoch: a rank may begin anywhere."""
    from launcher.worker.data.weighted import Weighted

    weights = np.load(path, mmap_mode="r")
    order = Weighted(weights, len(weights), 1)
    assert len(order.samples(0, len(weights) // 2, len(weights) // 2 + BATCH)) == BATCH


def torchs(path: str) -> None:
    """From the same file to the first batch of its iterator."""
    import torch
    from torch.utils.data import WeightedRandomSampler

    weights = torch.from_numpy(np.load(path))
    drawn = iter(WeightedRandomSampler(weights, len(weights), generator=torch.Generator().manual_seed(1)))
    assert len([next(drawn) for _ in range(BATCH)]) == BATCH


def measured(which: str, path: str) -> None:
    """Prints seconds, the most memory in GB, and what the process had before."""
    import torch  # noqa: F401  # what any rank has anyway

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    try:
        {"ours": ours, "torch's": torchs}[which](path)
        failed = None
    except RuntimeError as error:
        failed = str(error)
    seconds = time.perf_counter() - began
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": seconds, "gb": most / 2**20, "before_gb": before / 2**20, "failed": failed}))


def in_a_process(which: str, path: str) -> dict[str, float | str | None]:
    argv = [sys.executable, "-m", "tests.benchmarks.weighted_sampling", "--measure", which, "--weights", path]
    return json.loads(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)  # type: ignore[no-any-return]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=100_000_000)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--measure", choices=("ours", "torch's"))
    parser.add_argument("--weights")
    options = parser.parse_args()
    if options.measure:
        return measured(options.measure, options.weights)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "weights.npy")
        np.save(path, np.random.default_rng(1).random(options.samples, np.float32))
        pairs = [(in_a_process("ours", path), in_a_process("torch's", path)) for _ in range(options.pairs)]
    for name, outcome in zip(("ours", "torch's"), pairs[0], strict=True):
        failed = f"; it failed: {outcome['failed']}" if outcome["failed"] else ""
        print(f"{name}: {outcome['gb']:.2f} GB at most, {outcome['before_gb']:.2f} GB of it before{failed}")
    seconds = [[float(outcome["seconds"] or 0) for outcome in each] for each in zip(*pairs, strict=True)]
    report(f"first batch of {options.samples:,} weighted samples", *seconds, ("ours", "torch's"))
    return None


if __name__ == "__main__":
    main()
