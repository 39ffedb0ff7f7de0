from __future__ import annotations

import pytest
import yaml

from launcher.cli.explaining import render
from launcher.errors import UsageError
from launcher.load import parse_job
from launcher.load.nearest import paths
from launcher.spec.catalogue import CATALOGUE
from launcher.spec.catalogue.activations import ACTIVATIONS
from launcher.spec.docs import explain

FIELDS = [".".join(path) for path in paths()]
PLACES = {"model": "train.model", "loss": "train.loss", "optimizer": "train.optimizer", "schedule": "train.schedule",
          "data": "train.data.train", "augment": "train.data.augment", "metric": "train.metrics",
          "collate": "train.data.collate", "sampling": "train.data.sampling",
          "smote": "train.data.smote", "init": "train.init", "layer": "train.model.sequential.layers"}  # fmt: skip
BUILT_IN = [f"{PLACES[kind]}.{name}" for kind, name in CATALOGUE]


@pytest.mark.parametrize("path", [*FIELDS, *BUILT_IN])
def test_every_field_says_what_it_is_and_how_it_is_written(path: str) -> None:
    told = explain(path)
    assert told.doc
    assert told.accepts
    assert told.example
    assert yaml.safe_load(told.example)
    assert path in render(told)


def test_the_examples_of_built_in_targets_load(train: str) -> None:
    for path in BUILT_IN:
        example = explain(path).example
        assert example is not None
        override = example.replace("train: ", "train=", 1)
        parse_job(train, overrides=[override])


def test_alone_it_is_the_overview() -> None:
    told = explain()
    assert [key.name for key in told.keys] == [
        "name", "seed", "workdir", "env", "environment", "resources", "run", "train", "checkpoint", "log", "retry", "sweep",
        "extends",
    ]  # fmt: skip
    assert told.keys[0].default == "the file's stem"


def test_a_field() -> None:
    assert render(explain("resources.procs_per_node")) == (
        "resources.procs_per_node\n"
        "  Ranks per node; `auto` is one per GPU, or one per two CPU cores where there is none.\n"
        "\n"
        "  accepts   auto or an integer from 1 to 1,024\n"
        "  default   auto\n"
        "  example   resources: {procs_per_node: auto}"
    )


def test_a_target_lists_its_built_in_ones() -> None:
    told = explain("train.optimizer")
    assert [each.name for each in told.built_in][:3] == ["sgd", "adam", "adamw"]
    assert [key.name for key in told.keys] == ["groups", "decay"]
    assert "  momentum      a number >= 0; default 0.0" in render(told)


@pytest.mark.parametrize(("path", "accepts", "default"), [
    ("train.optimizer.sgd.momentum", "a number >= 0", "0.0"),
    ("train.optimizer.lr", "a number >= 0", None),
    ("train.model.mlp.in_features", "an integer >= 1", None),
    ("train.optimizer.groups.match", "a pattern of parameter names", None),
    ("train.optimizer.groups.0.lr", "a number >= 0", "none"),
    ("train.data.augment.random_crop.padding", "an integer or a list of integers", "none"),
    ("env.PATH", "text", None),
    ("run.args", "a list of text", "[]"),
    ("checkpoint.keep_best.mode", "min or max", None),
])  # fmt: skip
def test_what_is_accepted_and_what_comes_by_default(path: str, accepts: str, default: str | None) -> None:
    assert (explain(path).accepts, explain(path).default) == (accepts, default)


def test_an_argument_tells_who_takes_it() -> None:
    assert explain("train.optimizer.nesterov").doc == "Argument of sgd (default false)."


@pytest.mark.parametrize("path", ["train.model.activation", "train.model.mlp.activation"])
def test_each_activation_is_told_with_when_to_pick_it(path: str) -> None:
    lines = render(explain(path)).splitlines()
    for name, each in ACTIVATIONS.items():
        assert f"  {name}: {each.when}." in lines
    assert len({each.when for each in ACTIVATIONS.values()}) == len(ACTIVATIONS)


@pytest.mark.parametrize(("path", "message"), [
    ("train.optmizer", "there is no 'optmizer' under train. Did you mean 'optimizer'?"),
    ("trian", "there is no 'trian' in a job. Did you mean 'train'?"),
    ("train.optimizer.sdg", "there is no 'sdg' under train.optimizer. Did you mean 'sgd'?"),
    ("train.optimizer.sgd.momentm", "there is no 'momentm' under train.optimizer.sgd. Did you mean 'momentum'?"),
    ("resources.nodes.x", "there is no 'x' under resources.nodes. There is: min, max"),
    ("lr", "there is no 'lr' in a job. Did you mean train.optimizer.lr or train.optimizer.groups.lr?"),
    ("accuracy", "there is no 'accuracy' in a job. Did you mean train.metrics.accuracy?"),
    ("retry.zzz", "there is no 'zzz' under retry. There is: max_restarts, lost_after, hang_timeout, when_time_is_up"),
])  # fmt: skip
def test_unknown_paths_name_the_nearest(path: str, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        explain(path)
    assert str(refused.value) == message


@pytest.mark.parametrize("path", sorted(set(PLACES.values())))
def test_a_target_says_what_a_thing_of_ones_own_must_be(path: str) -> None:
    assert "  your own  {target: pkg.mod:thing, ...arguments}: " in render(explain(path))


def test_extends_is_read_before_there_is_a_job_and_explained_all_the_same() -> None:
    assert "  example   extends: base.yaml" in render(explain("extends"))
