"""Whatever is in the file, the answer is a job or a SpecError whose every problem has its place."""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from launcher.errors import SpecError
from launcher.load import dump_job, parse_job

RESNET = (Path(__file__).parents[2] / "jobs" / "resnet.yaml").read_text()
SCRIPT = """name: mine
resources: {nodes: 2, procs_per_node: 8, time: 1d12h}
env: {A: "${env:HOME}", B: 0.10}
run: {script: train.py, args: [--config, base.yaml], stop_grace: 45s}
"""
SEEDS = [RESNET, SCRIPT]
TOKENS = [*"{}[]:,-&*!|>'\"%@`#?\n\t \r~", ": ", "- ", "<<: ", "*a ", "&a ", "!!python/object:os.system ", "---\n", "...\n",
          "null", "yes", "1e999", "-1", "0x", "9" * 30, "a" * 300, "${env:", "${env:X}", "\u2028", "\x85", "\ufeff",
          "\0", "\x1b", "é", "😀", "target: ", "extends: x.yaml\n", "  ", ".inf", ".nan", "10%", "08:00:00",
          '"\\ud800"', '"\\0"', "? ",
          "[" * 70, "{a: " * 70]  # fmt: skip
PIECES = [*"{}[]:,-&*!|>'\"%?\n #a1~<.", "train", "run: ", "script: a", "seed: ", "extends: ", "\t"]
VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    3.5,
    float("nan"),
    "",
    "x",
    "auto",
    "10%",
    [],
    {},
    [[]],
    [{}],
    {"target": 3},
    {"target": "x.y"},
    "sgd",
    10**30,
]
PLACED = re.compile(r"job\.yaml:\d+:\d+: |--set \d+: ")


def mutated_text(text: str, rng: random.Random) -> str:
    for _ in range(rng.randint(1, 6)):
        at, length = rng.randrange(len(text) + 1), rng.choice([0, 0, 1, 2, 10])
        cut = rng.randrange(len(text) + 1)
        piece = rng.choice([rng.choice(TOKENS), text[cut : cut + rng.randint(1, 40)]])
        text = text[:at] + piece + text[at + length :]
    return text


def mutated_tree(text: str, rng: random.Random) -> str:
    """Valid YAML that says something else."""
    tree = yaml.safe_load(text)
    for _ in range(rng.randint(1, 5)):
        place, key = rng.choice(list(places(tree)))
        change = rng.choice(["value", "rename", "drop"])
        if change == "value" or isinstance(place, list):
            place[key] = copy.deepcopy(rng.choice(VALUES))
        elif change == "rename":
            place[key + rng.choice(["", "s", "x"])[:1] or "k"] = place.pop(key)
        else:
            del place[key]
        if not any(True for _ in places(tree)):
            break
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, default_flow_style=rng.choice([True, False, None]))


def places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of every value in a tree of YAML."""
    items = list(tree.items()) if isinstance(tree, dict) else list(enumerate(tree)) if isinstance(tree, list) else []
    for key, value in items:
        yield tree, key
        yield from places(value)


def a_job_or_problems_with_places(text: str, overrides: list[str]) -> None:
    try:
        job = parse_job(text, "job.yaml", overrides=overrides, workdir="/")
    except SpecError as error:
        problems = error.problems
    else:
        assert parse_job(dump_job(job), workdir="/") == job
        return
    assert problems
    assert [str(problem) for problem in problems if not PLACED.match(str(problem)) or not problem.message] == []


def fuzz(number: int) -> None:
    rng = random.Random(number)
    mutate = rng.choice([mutated_text, mutated_text, mutated_tree])
    text = mutate(rng.choice(SEEDS), rng)
    override = mutated_text(
        rng.choice(["train.optimizer.lr=0.1", "resources.nodes=2", "run.args=[a, b]", "log={wandb: true}"]), rng
    )
    a_job_or_problems_with_places(text, [override] if rng.random() < 0.3 else [])


@pytest.mark.timeout(60)
@pytest.mark.parametrize("start", range(0, 300, 50))
def test_mutated_jobs(start: int) -> None:
    for number in range(start, start + 50):
        fuzz(number)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("start", range(1000, 3000, 100))
def test_two_thousand_mutated_jobs(start: int) -> None:
    for number in range(start, start + 100):
        fuzz(number)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(PIECES)).map("".join) | st.text(), st.text(max_size=20))
def test_any_text(text: str, override: str) -> None:
    a_job_or_problems_with_places(text, [override])
