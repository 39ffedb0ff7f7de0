"""What a sweep would try, against the job's types before the first trial: every path and value, with its place in the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from launcher.errors import Problem
from launcher.load.merge import merge
from launcher.load.nodes import Node
from launcher.load.validate import validated
from launcher.load.wording import spot_at

SWEEP = "sweep"
SHARED = ("sweep", "workdir", *(f"resources.{name}" for name in ("nodes", "backend", "hosts", "spares", "slurm", "agent")))
"""Fields that all trials have in common: the sweep itself, and the machines that they share."""
MOST = 5_000
"""Values that are checked one by one."""


def candidate_problems(tree: Node, defaults: Mapping[str, Any], *, folder: Path) -> Iterator[Problem]:
    """Of a job that is right but for its sweep: otherwise every candidate would repeat what is wrong with it."""
    plain = of_one_trial(tree)
    yield from shared_problems(tree)
    if problems_of_trial(plain, defaults, folder=folder):
        return
    seen: set[tuple[str, int | None, int | None, str]] = set()
    for path, place, value in [each for each in candidates(tree) if not is_shared(each[0])][:MOST]:
        problems = problems_of_trial(merge(plain, branch(path, place, value)), defaults, folder=folder)
        for problem in (below_a_value(each, path) for each in problems):
            key = problem.source, problem.line, problem.column, problem.message
            if key not in seen:
                seen.add(key)
                yield problem


def below_a_value(problem: Problem, path: str) -> Problem:
    """A path that goes on where the job has a value would be told of as a value that is wrong."""
    keys = path.split(".")
    above = list(problem.path) == keys[: len(problem.path)] and len(problem.path) < len(keys)
    if not above or not problem.message.startswith("expected"):
        return problem
    return replace(problem, path=tuple(keys), message=f"{'.'.join(map(str, problem.path))} has no fields: leave the rest away")


def shared_problems(tree: Node) -> Iterator[Problem]:
    for path, place in {path: holder.keys[path] for path, holder, _ in candidates(tree)}.items():
        if is_shared(path):
            yield place.problem(
                f"the trials of a sweep have {path} in common, and cannot try values of it: write it where the job has it",
                (SWEEP, "parameters", path),
            )


def is_shared(path: str) -> bool:
    return any(path == name or path.startswith(f"{name}.") for name in SHARED)


def of_one_trial(tree: Node) -> Node:
    """Without the sweep, folds apart: they give it something to evaluate on, though the job itself may have nothing."""
    assert isinstance(tree.value, dict)
    items, sweep = dict(tree.value), tree.value[SWEEP]
    del items[SWEEP]
    if isinstance(sweep.value, dict) and "folds" in sweep.value:
        settings = {key: item for key, item in sweep.value.items() if key != "parameters"}
        items[SWEEP] = Node(sweep.place, settings, keys=sweep.keys)
    return Node(tree.place, items, keys=tree.keys)


def problems_of_trial(tree: Node, defaults: Mapping[str, Any], *, folder: Path) -> list[Problem]:
    """Those of the sweep itself are told once, by the job that has it."""
    _, problems = validated(tree, dict(defaults), folder=folder)
    return [each for each in problems if each.path[:1] != (SWEEP,)]


def candidates(tree: Node) -> Iterator[tuple[str, Node, Node]]:
    """(path, the node that holds its values, a value): each item of a list, both ends of a range."""
    sweep = tree.child(SWEEP)
    parameters = sweep.child("parameters") if sweep else None
    if parameters is None or not isinstance(parameters.value, dict):
        return
    for path, given in parameters.value.items():
        match given.value:
            case list() as values:
                yield from ((path, parameters, value) for value in values)
            case dict() as ends:
                yield from ((path, parameters, ends[end]) for end in ("min", "max") if end in ends)


def branch(path: str, holder: Node, value: Node) -> Node:
    """The value under its path, as an override would set it; the keys stand where the parameter does."""
    node, place = value, holder.keys[path]
    for key in reversed(path.split(".")):
        node = Node(place, {key: node}, keys={key: place}, indexed=True)
    return node


def takes_fractions(tree: Node, path: str) -> bool | None:
    """Whether a field takes numbers that are not whole; None where its type is not known."""
    spot = spot_at(tuple(path.split(".")), tree)
    if spot is None:
        return None
    kinds = [kind for kind, _ in spot.branches]
    return float in kinds if float in kinds or int in kinds else None
