"""Initial values: those of torch.nn.init, drawn after the module's own from the same seed, the same on every rank."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from launcher.errors import SpecError
from launcher.load import dump_job, parse_job
from launcher.spec.catalogue import CATALOGUE
from launcher.spec.catalogue.inits import INITS
from launcher.worker.errors import WorkerError
from launcher.worker.network import make_model
from tests.worker.test_networks import SEED
from tests.worker.test_sequential import weights_at_start
from tests.worker.worlds import ALONE, a_job, in_world, on_ranks, run_of

CNN = {"target": "cnn", "in_channels": 1, "channels": [3], "num_classes": 4}
GIVEN: dict[str, dict[str, Any]] = {"constant": {"val": 0.5}, "kaiming_normal": {"mode": "fan_out", "nonlinearity": "relu"},
                                    "trunc_normal": {"std": 0.02}, "xavier_normal": {"gain": 1.5}}  # fmt: skip


def cnn(init: Any) -> nn.Module:
    import yaml

    spec = parse_job(yaml.safe_dump(a_job(model=CNN, init=init), sort_keys=False)).train
    assert spec is not None
    return make_model(spec, SEED, ALONE)


def by_hand(change: Callable[[nn.Sequential], object]) -> dict[str, Tensor]:
    torch.manual_seed(SEED)
    model = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2),
                          nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4))  # fmt: skip
    with torch.no_grad():
        change(model)
    return model.state_dict()


def equal(model: nn.Module, expected: dict[str, Tensor]) -> bool:
    state = model.state_dict()
    return all(torch.equal(state[name], value) for name, value in expected.items())


@pytest.mark.parametrize("entry", INITS, ids=lambda entry: entry.name)
def test_alone_it_is_for_matrices_and_vectors_keep_their_own(entry: Any) -> None:
    given = GIVEN.get(entry.name, {})
    function = getattr(nn.init, f"{entry.name}_")
    expected = by_hand(lambda model: [function(model[0].weight, **given), function(model[6].weight, **given)])
    assert equal(cnn({"target": entry.name, **given}), expected)


def test_by_pattern_the_first_that_matches_decides_and_vectors_are_left_to_what_takes_them() -> None:
    init = {"0.*": "orthogonal", "*.weight": {"target": "kaiming_uniform", "nonlinearity": "relu"}, "6.bias": "zeros"}

    def change(model: nn.Sequential) -> None:
        nn.init.orthogonal_(model[0].weight)
        nn.init.kaiming_uniform_(model[6].weight, nonlinearity="relu")
        nn.init.zeros_(model[6].bias)

    assert equal(cnn(init), by_hand(change))


def test_it_is_the_same_on_every_rank(tmp_path: Any) -> None:
    run = run_of(tmp_path / "run", a_job(init="orthogonal"))
    [(_, one)], [(_, other)] = ([each] for [each] in on_ranks(2, in_world, [run], weights_at_start))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert torch.allclose(one["0.weight"] @ one["0.weight"].T, torch.eye(32), atol=1e-5)


def test_a_function_of_ones_own_gets_each_tensor() -> None:
    state = cnn({"target": "torch.nn.init:constant_", "val": 3.0}).state_dict()
    assert float(state["6.weight"].min()) == 3.0


@pytest.mark.parametrize(("init", "message"), [
    ({"heda.*": "zeros"}, r"train\.init: 'heda\.\*' matches no parameter that is left\. Parameters: 0\.weight"),
    ({"1.*": "orthogonal"}, r"orthogonal is for parameters of at least 2 dimensions, and there is none among 1\.weight, 1\.bias"),
])  # fmt: skip
def test_what_leads_to_nothing_is_refused(init: Any, message: str) -> None:
    with pytest.raises(WorkerError, match=message) as told:
        cnn(init)
    assert told.value.kind == "spec"


@pytest.mark.parametrize(("init", "message"), [
    ("kaimin_normal", r"train\.init: no init is called 'kaimin_normal'\. Did you mean 'kaiming_normal'\?"),
    ({"target": "xavier_normal", "gian": 1.0}, r"train\.init\.gian: unknown key 'gian'\. Did you mean 'gain'\?"),
    ({"0.*": "zerso"}, r"train\.init\.0\.\*: no init is called 'zerso'\. Did you mean 'zeros'\?"),
    (3, r"train\.init: expected an init: a name, or \{target: NAME, \.\.\.arguments\} or a mapping of patterns"),
])  # fmt: skip
def test_a_wrong_one_is_refused_at_its_place(init: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        cnn(init)


@pytest.mark.parametrize("init", ["zeros", {"target": "normal", "std": 0.1}, {"*": "ones", "a.*": {"target": "normal"}}])
def test_it_is_written_as_it_is_read(init: Any) -> None:
    import yaml

    job = parse_job(yaml.safe_dump(a_job(init=init)))
    assert parse_job(dump_job(job)) == job


def test_every_init_is_in_the_catalogue() -> None:
    assert {name for kind, name in CATALOGUE if kind == "init"} >= set(GIVEN)
