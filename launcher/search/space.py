"""A sweep's parameters as Optuna knows them, and back to values of the job."""

from __future__ import annotations

import itertools
import json
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from launcher.load import dump_job
from launcher.load.candidates import takes_fractions
from launcher.load.compose import compose
from launcher.load.nodes import Source
from launcher.spec import Job
from launcher.spec.sweep import Range, Sweep

Parameters = dict[str, Any]
"""Path -> value of the job."""
Drawn = dict[str, Any]
"""The same as Optuna has it: numbers, and values of a list as JSON."""


def label(value: Any) -> str:
    """A value of a list, as one of Optuna's categories, which may be text."""
    return json.dumps(value)


def whole_ranges(job: Job) -> frozenset[str]:
    """Paths whose ranges are of integers: both ends are, and the field takes no fractions."""
    assert job.sweep is not None
    tree, _ = compose(Source("job.yaml", dump_job(job)))
    assert tree is not None
    ranges = {path: given for path, given in job.sweep.parameters.items() if isinstance(given, Range)}
    return frozenset(path for path, given in ranges.items() if given.whole and takes_fractions(tree, path) is not True)


def integers_of(sweep: Sweep) -> frozenset[str]:
    """The same of a function's arguments, whose types nobody knows."""
    return frozenset(path for path, given in sweep.parameters.items() if isinstance(given, Range) and given.whole)


def distributions(sweep: Sweep, whole: frozenset[str]) -> dict[str, Any]:
    """Optuna's, by path. `whole`: ranges of integers."""
    from optuna.distributions import CategoricalDistribution

    return {
        path: distribution(given, whole=path in whole)
        if isinstance(given, Range)
        else CategoricalDistribution([label(value) for value in given])
        for path, given in sweep.parameters.items()
    }


def distribution(given: Range, *, whole: bool) -> Any:
    from optuna.distributions import FloatDistribution, IntDistribution

    with warnings.catch_warnings():  # a maximum that no whole number of steps leads to is the last step before it
        warnings.filterwarnings("ignore", message="The distribution is specified by")
        if whole:
            return IntDistribution(int(given.min), int(given.max), log=given.log, step=int(given.step or 1))
        step = None if given.step is None else float(given.step)
        return FloatDistribution(float(given.min), float(given.max), log=given.log, step=step)


def values(sweep: Sweep, drawn: Mapping[str, Any]) -> Parameters:
    """What the job is given for what Optuna drew."""
    return {
        path: drawn[path] if isinstance(given, Range) else json.loads(drawn[path]) for path, given in sweep.parameters.items()
    }


def grid(sweep: Sweep, whole: frozenset[str]) -> Iterator[Drawn]:
    """Every combination, the last parameter changing fastest."""
    axes = [list(dict.fromkeys(points(path, given, whole))) for path, given in sweep.parameters.items()]
    for combination in itertools.product(*axes):
        yield dict(zip(sweep.parameters, combination, strict=True))


def points(path: str, given: Any, whole: frozenset[str]) -> Iterator[Any]:
    if not isinstance(given, Range):
        yield from map(label, given)
        return
    step, last = given.step or 1, distribution(given, whole=path in whole).high
    count = int((given.max - given.min) / step + 1e-9) + 1
    # Many steps of a fraction may come to a little more than the end, which is no value to Optuna: 3 * 0.1 > 0.3.
    yield from (min(type(last)(given.min + i * step), last) for i in range(count))


def combinations(sweep: Sweep, whole: frozenset[str]) -> int | None:
    """How many there are; None where a range is continuous."""
    total = 1
    for path, given in sweep.parameters.items():
        if isinstance(given, Range) and given.step is None and path not in whole:
            return None
        if isinstance(given, Range) and given.step is None:
            total *= int(given.max) - int(given.min) + 1
        else:
            total *= len(set(points(path, given, whole)))
    return total
