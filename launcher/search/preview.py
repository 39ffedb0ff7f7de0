"""What a sweep would do, without doing any of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from launcher.search.sequence import total
from launcher.search.slots import clusters, parallel
from launcher.search.space import Parameters, distributions, grid, values, whole_ranges
from launcher.spec import Job

SAMPLE = 10


@dataclass(frozen=True, kw_only=True)
class Preview:
    name: str
    trials: int | None
    """At most; None where time alone ends it."""
    parallel: int
    folds: int
    ranks: int
    """Of each training."""
    steps: int | None
    """Of each training, where that is known beforehand."""
    whole: bool
    """Whether `sample` is all of it."""
    sample: list[Parameters]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def preview(job: Job) -> Preview:
    """Raises UsageError where more trials at a time are asked for than fit, BackendError."""
    from launcher.plan import make_plan
    from launcher.search.trials import base_of

    assert job.sweep is not None
    count, whole = parallel(job), whole_ranges(job)
    plan = make_plan(base_of(job), clusters(job, count)[0])
    sample = list(drawn(job, whole))
    trials = total(job.sweep, whole)
    return Preview(
        name=job.name, trials=trials, parallel=count, folds=job.sweep.folds or 1, ranks=plan.world.world_size,
        steps=plan.batch.steps if plan.batch else None, sample=sample,
        whole=job.sweep.method == "grid" or (trials == len(sample) and (trials == 1 or job.sweep.method == "random")),
    )  # fmt: skip


def drawn(job: Job, whole: frozenset[str]) -> Any:
    """All of a grid; otherwise what the search begins with, drawn at random."""
    from launcher.search.study import Study

    sweep = job.sweep
    assert sweep is not None
    if sweep.method == "grid":
        yield from (values(sweep, each) for each in islice(grid(sweep, whole), sweep.trials))
        return
    study = Study(sweep, job.seed, distributions(sweep, whole))
    seen: set[str] = set()
    for number in range(min(SAMPLE, total(sweep, whole) or SAMPLE)):
        if (drawn := study.unseen(number, seen)) is not None:
            seen.add(repr(drawn))
            yield values(sweep, drawn)
