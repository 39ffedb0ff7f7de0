from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from launcher.load.compose import compose
from launcher.load.nodes import Source
from launcher.spec.schema import json_schema

JOBS = sorted((Path(__file__).parents[2] / "jobs").glob("*.yaml"))
SCHEMA = json_schema()


def errors(text: str) -> list[Any]:
    node, _ = compose(Source("x", text))
    assert node is not None
    return list(Draft202012Validator(SCHEMA).iter_errors(node.plain()))


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.name)
def test_starter_jobs_pass(path: Path) -> None:
    assert errors(path.read_text()) == []


@pytest.mark.parametrize("text", [
    "run: {script: a, args: [1, x, 0.1, true]}\nenv: {A: 1}\nretry:\n",
    "run: {program: [./x]}\nlog: {wandb: true}\nresources: {time: 1d12h, procs_per_node: 4}",
    "extends: base.yaml",
    "extends: [a.yaml, b.yaml]\ntrain: {optimizer: {lr: 0.1}}",
    "run: {script: a}\ncheckpoint: {every: 90s, keep_best: {monitor: val/loss, mode: min}}",
])  # fmt: skip
def test_what_the_loader_takes_passes(text: str) -> None:
    assert errors(text) == []


@pytest.mark.parametrize("text", [
    "run: {scrip: a}", "seed: 1", "run: {script: a}\ntrain: {}", "run: {script: a}\nresources: {nodes: 0}",
    "run: {script: a}\nresources: {time: 30}", "run: {script: a}\nnaem: b", "run: {script: a}\nlog: {wandb: {projct: x}}",
    "run: {script: a}\ncheckpoint: {keep_best: {monitor: x}}",
])  # fmt: skip
def test_what_the_loader_refuses_fails(text: str) -> None:
    assert errors(text)


@pytest.mark.parametrize(("old", "new"), [
    ("lr: 0.1", "lr: fast"), ("lr: 0.1", "lrr: 0.1"), ("target: sgd", "target: sdg"), ("epochs: 2", "epochs: 0"),
    ("  loss: cross_entropy\n", ""), ("batch_size: 128", "shuffle: true"), ("target: sgd, ", ""), ("[accuracy]", "[{x: 1}]"),
    ("in_features: 64", "in_features: 0"),
])  # fmt: skip
def test_a_broken_training_fails(train: str, old: str, new: str) -> None:
    assert errors(train) == []
    assert errors(train.replace(old, new))


@pytest.mark.parametrize(("line", "fine"), [
    ("init: zeros", True), ("init: {target: normal, std: 0.1}", True),
    ("init: {'a.*': zeros, '*': {target: orthogonal}}", True), ("init: zerso", False),
    ("init: {target: normal, sdt: 0.1}", False),
    ("init: {'a.*': zerso}", False), ("init: {'a.*': {target: normal, sdt: 1.0}}", False), ("parallel: fsdp", False),
])  # fmt: skip
def test_what_may_stand_beside_the_model(train: str, line: str, fine: bool) -> None:
    assert (errors(f"{train}  {line}\n") == []) is fine


@pytest.mark.parametrize(("model", "fine"), [
    ("{target: sequential, layers: [ReLU, {target: Linear, out_features: 3}, {target: my.mod:Block, width: 3}]}", True),
    ("{target: sequential, layers: [ReLU, {target: Linear, out_feature: 3}]}", False),
    ("{target: sequential, layers: [ReLUU]}", False),
    ("{target: mlp, in_features: 2, out_features: 2, activation: my.mod:Act}", True),
    ("{target: mlp, in_features: 2, out_features: 2, activation: gleu}", False),
])  # fmt: skip
def test_layers_and_activations_of_a_model(train: str, model: str, fine: bool) -> None:
    given = train.replace("{target: mlp, in_features: 64, out_features: 10}", model)
    assert given != train
    assert (errors(given) == []) is fine


def test_fields_are_described() -> None:
    definitions = SCHEMA["$defs"]
    assert definitions["Resources"]["properties"]["nodes"]["description"].startswith("Machines")
    assert SCHEMA["properties"]["seed"]["description"] == "All randomness comes from it."
    for name in ("Resources", "Train", "Data", "Checkpoint", "Log", "Retry", "Run", "Wandb"):
        assert all(field.get("description") for field in definitions[name]["properties"].values()), name
