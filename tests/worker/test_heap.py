"""A step's memory is what the step before has freed: on the CPU it is not given back to the system in between."""

from __future__ import annotations

import ctypes
import os
import resource
from pathlib import Path

import pytest

from launcher import rank
from launcher.rundir import RunDir
from launcher.worker.heap import said_otherwise
from launcher.worker.job import read_job
from launcher.worker.train import train
from launcher.worker.world import joined
from tests.worker.worlds import a_job, on_ranks, run_of

SET = {"target": "fake_data", "samples": 2560, "shape": [1, 28, 28]}
WARM_UP = 20
FEW = 200
"""Pages a batch; its outputs are 5,000."""


def faults_at_steps(run: RunDir) -> list[int]:
    """On a rank: page faults of the process until each batch of a training and of its evaluations."""
    for name in [name for name in os.environ if said_otherwise({name: os.environ[name]})]:
        del os.environ[name]
    counted = []

    def pulse(step: int | None = None) -> None:
        counted.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)

    rank.pulse = pulse
    job = read_job(run)
    with joined(job) as world:
        assert train(run, job, world) == 0
    return counted


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc")
def test_its_pages_are_not_new_to_the_process(tmp_path: Path) -> None:
    model = {"target": "cnn", "in_channels": 1, "channels": [16, 32], "num_classes": 10}
    job = a_job(model=model, data={"train": SET, "val": SET, "batch_size": 128}, metrics=["accuracy"], epochs=5, max_steps=None)
    [counted] = on_ranks(1, faults_at_steps, run_of(tmp_path / "run", job))
    batches = len(counted) - WARM_UP
    assert batches > 100
    assert (counted[-1] - counted[WARM_UP]) / batches < FEW


@pytest.mark.parametrize(("environ", "said"), [
    ({}, False),
    ({"GLIBC_TUNABLES": "glibc.rtld.optional_static_tls=2048"}, False),
    ({"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=131072"}, True),
    ({"MALLOC_TRIM_THRESHOLD_": "131072"}, True),
])  # fmt: skip
def test_who_said_how_it_is_to_be_is_heeded(environ: dict[str, str], said: bool) -> None:
    assert said_otherwise(environ) is said
