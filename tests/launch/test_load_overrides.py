from __future__ import annotations

from collections.abc import Callable

import pytest

from launcher.errors import Problem
from launcher.load import FLAGS, differences, parse_job

Problems = Callable[..., list[Problem]]


@pytest.mark.parametrize(("override", "changed"), [
    ("train.optimizer.lr=0.01", ("train.optimizer.lr", 0.1, 0.01)),
    ("train.optimizer.lr=1e-3", ("train.optimizer.lr", 0.1, 0.001)),
    ("train.optimizer={lr: 0.01}", ("train.optimizer.lr", 0.1, 0.01)),
    ("log.tensorboard=true", ("log.tensorboard", False, True)),
    ("env.A=0.10", ("env.A", None, "0.10")),
    ("env.A=x=y", ("env.A", None, "x=y")),
    ("env.A=", ("env.A", None, "")),
    ("train.loss.label_smoothing=0.1", ("train.loss.label_smoothing", 0.0, 0.1)),
    ("train.data.val=null", ("train.data.val", {}, None)),
    ("train.metrics.0=my.mod:f1", ("train.metrics", [{"target": "accuracy"}], [{"target": "my.mod:f1"}])),
])  # fmt: skip
def test_one_value_changes(train: str, override: str, changed: tuple[str, object, object]) -> None:
    found = differences(parse_job(train), parse_job(train, overrides=[override]))
    if changed[2] is None:
        assert {path.rsplit(".", 1)[0] for path, *_ in found} == {changed[0]}
    else:
        assert found == [changed]


def test_later_ones_win_and_flags_last(train: str) -> None:
    job = parse_job(train, overrides=["resources.nodes=2", "seed=1", "seed=2", "resources.nodes=3"], flags={"nodes": 4})
    assert (job.seed, job.resources.nodes) == (2, 4)


def test_a_flag_that_is_not_given_changes_nothing(train: str) -> None:
    flags: dict[str, object] = dict.fromkeys(FLAGS)
    assert parse_job(train, flags=flags) == parse_job(train)


def test_arguments_set_beside_another_target_are_kept(train: str) -> None:
    for order in (1, -1):
        job = parse_job(train, overrides=["train.optimizer.lr=3", "train.optimizer.target=adam"][::order])
        assert job.train is not None
        assert (job.train.optimizer.target, job.train.optimizer.arguments["lr"]) == ("adam", 3.0)


def test_a_section_that_the_file_lacks_can_be_set() -> None:
    assert parse_job("run: {script: a}", overrides=["retry.max_restarts=0"]).retry.max_restarts == 0


@pytest.mark.parametrize(("override", "message", "column"), [
    ("nodes", "expected PATH=VALUE, such as train.optimizer.lr=0.01, got no '='", 1),
    ("=3", "expected keys with dots between them in front of '=', such as train.optimizer.lr", 1),
    ("a..b=3", "expected keys with dots between them in front of '=', such as train.optimizer.lr", 1),
    ("resources.nods=2", "unknown key 'nods'. Did you mean 'nodes'?", 11),
    ("resorces.nodes=2", "unknown key 'resorces'. Did you mean 'resources'?", 1),
    ("resources.nodes=two", "expected an integer from 1 to 100,000 or a mapping of min and max, got 'two'", 17),
    ("seed=[1", "this is not YAML: while parsing a flow sequence, did not find expected ',' or ']'", 8),
    ("seed=!x 1", "tags are not read (got '!x'): quote the value for text", 6),
    ("seed=1\0", "a NUL byte cannot stand in a job", 7),
    ("env.A=\udcff", "the character U+DCFF cannot stand in a job: this is not text", 7),
    ("extends=a.yaml", "'extends' stands in a file; give the base's values one by one", 1),
    ("train.metrics.5=x", "expected a list; each item is a metric: a name, or {target: NAME, ...arguments}, got a mapping", 15),
])  # fmt: skip
def test_errors_name_the_override(problems: Problems, train: str, override: str, message: str, column: int) -> None:
    found = problems(train, overrides=["seed=1", override])
    assert [(each.source, each.line, each.column) for each in found if message in each.message] == [("--set 2", None, column)]
    assert str(found[0]).startswith("--set 2: ")


def test_errors_name_the_flag(problems: Problems, train: str) -> None:
    [found] = problems(train, flags={"backend": "slrm"})
    assert str(found) == "--backend: resources.backend: expected auto, local, slurm or hosts, got 'slrm'. Did you mean 'slurm'?"


def test_errors_of_file_and_overrides_come_together(problems: Problems) -> None:
    found = problems("run: {script: a}\nsed: 1\n", overrides=["nope", "log.evry=1"])
    assert [each.source for each in found] == ["job.yaml", "--set 1", "--set 2"]
