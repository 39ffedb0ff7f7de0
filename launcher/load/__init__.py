"""A YAML file, what it extends and what the command line sets, to a Job: every error at once, each with its place."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from launcher.errors import Problem, SpecError
from launcher.load.extends import Chain, read_tree
from launcher.load.merge import merge
from launcher.load.nodes import Node, Source
from launcher.load.overrides import FLAGS as FLAGS
from launcher.load.overrides import overlay
from launcher.load.profile import over_profile
from launcher.load.reading import decoded, read_source
from launcher.load.validate import validated
from launcher.spec import Job
from launcher.spec.search import Search


def load_job(
    path: str | os.PathLike[str],
    *,
    overrides: Sequence[str] = (),
    flags: Mapping[str, object] | None = None,
) -> Job:
    """The job of a file, with `overrides` (`a.b=c`) and then `flags` (names of FLAGS; None: not given) over it.

    Raises SpecError.
    """
    return resolved(read_source(path), overrides, flags or {}, None)[0]


def parse_job(
    text: str,
    source: str = "job.yaml",
    *,
    overrides: Sequence[str] = (),
    flags: Mapping[str, object] | None = None,
    workdir: str | None = None,
) -> Job:
    """The job of a text; `source` is the file name that errors show and that `extends` is relative to.

    `workdir`: where relative paths start if the text does not say (default: the current folder). Raises SpecError.
    """
    return resolved(decoded(source, text.encode("utf-8", "surrogatepass")), overrides, flags or {}, workdir)[0]


def load_search(path: str | os.PathLike[str], *, overrides: Sequence[str] = ()) -> Search:
    """Only what a search over a function needs of a job file: name, seed and sweep. Raises SpecError."""
    from launcher.load.searching import searched

    return searched(read_source(path), overrides)


def dump_job(job: Job) -> str:
    """YAML 1.2 that loads to the same job: everything resolved, `name` first."""
    from launcher.load.dump import as_yaml

    return as_yaml(job)


def differences(old: Job, new: Job) -> list[tuple[str, Any, Any]]:
    """(dotted path, old, new) of every value that is not the same; None where a side has none. Lists are compared whole."""
    from launcher.load.differ import differing

    return differing(old, new)


def resolved(source: Source, overrides: Sequence[str], flags: Mapping[str, object], workdir: str | None) -> tuple[Job, Node]:
    """The job, and the tree of what was written, whose values know their places. Raises SpecError."""
    chain = Chain()
    over, problems = overlay(overrides, flags)
    chain.problems += problems
    tree = read_tree(source, chain)
    if chain.incomplete:
        raise SpecError(sorted(chain.problems, key=reading_order))
    tree = tree if over is None else merge(tree, over)
    tree = over_profile(tree, chain.problems)
    defaults = {"name": name_of(source.name), "workdir": ""}
    folder = Path.cwd() / (workdir or "")
    job, problems = validated(tree, defaults, folder=folder)
    if tree.child("sweep") is not None:
        from launcher.load.candidates import candidate_problems

        problems += candidate_problems(tree, defaults, folder=folder)
    if chain.problems or problems or job is None:
        raise SpecError(sorted([*chain.problems, *problems], key=reading_order))
    return job, tree


def reading_order(problem: Problem) -> tuple[bool, str, int, int]:
    """File by file from the top, then the command line."""
    return problem.line is None, problem.source, problem.line or 0, problem.column or 0


def name_of(path: str) -> str:
    """The file's stem in the characters that a name may have."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", Path(path).stem).strip("-.")[:64] or "job"
