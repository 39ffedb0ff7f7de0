"""`log.profile`: what happens in one step, as torch's profiler sees it on rank 0."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch.profiler import ProfilerActivity, profile

from launcher import events
from launcher.rundir import RunDir
from launcher.worker.build import Training
from launcher.worker.written import whole


def profiled_step(training: Training) -> int | None:
    """Its number, from 1: the last one where the run is shorter."""
    every, total = training.job.log.profile, training.total_steps
    if every is None or not training.world.first:
        return None
    step = max(1, every.steps(per_epoch=training.per_epoch, total=total))
    return step if total is None else min(step, total)


@contextmanager
def profiled(run: RunDir, training: Training, step: int) -> Iterator[None]:
    """Around a step: a trace in profile/, for https://ui.perfetto.dev, where it is the one."""
    if training.job.log.profile is None or profiled_step(training) != step:
        yield
        return
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if training.world.device.type == "cuda" else [])]
    with profile(activities=activities) as trace:
        yield
    name = f"step-{step:08d}.json.gz"
    run.profile.mkdir(exist_ok=True)
    with whole(run.profile / name) as aside:
        trace.export_chrome_trace(str(aside))
    events.record(run, "profiled", attempt=training.world.attempt, step=step, file=f"{run.profile.name}/{name}")
