"""A network of layers by name, its sizes inferred, is the module written by hand with the same seed."""

from __future__ import annotations

import inspect
from typing import Any, Literal, get_args, get_origin

import pytest
import torch
from torch import Tensor, nn

from launcher.errors import SpecError
from launcher.spec.catalogue import REQUIRED
from launcher.spec.catalogue.layers import LAYER_ENTRIES
from launcher.worker.build import build
from launcher.worker.errors import WorkerError
from launcher.worker.job import read_job
from launcher.worker.network import make_model
from tests.worker.test_networks import SEED, last_weights, network
from tests.worker.test_plain import trained
from tests.worker.worlds import ALONE, a_job, in_world, on_ranks, run_of

LAYERS = [
    {"target": "Conv2d", "out_channels": 4, "kernel_size": [3, 3], "groups": 1, "padding": "same"}, {"target": "BatchNorm2d"},
    "GELU", {"target": "MaxPool2d", "kernel_size": 2}, {"target": "Conv2d", "out_channels": 8, "kernel_size": 3, "groups": 2},
    {"target": "Dropout", "p": 0.2}, "Flatten", {"target": "Linear", "out_features": 12},
    {"target": "LeakyReLU", "negative_slope": 0.2}, {"target": "Linear", "in_features": 12, "out_features": 10},
]  # fmt: skip
SEQUENTIAL = {"target": "sequential", "layers": LAYERS}


def by_hand() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, (3, 3), padding="same"), nn.BatchNorm2d(4), nn.GELU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 8, 3, groups=2), nn.Dropout(0.2), nn.Flatten(), nn.Linear(32, 12), nn.LeakyReLU(0.2), nn.Linear(12, 10),
    )  # fmt: skip


def job(model: Any = None, **train: Any) -> dict[str, Any]:
    return a_job(model=model or SEQUENTIAL, data={"train": {"target": "digits"}, "batch_size": 90}, **train)


def weights_at_start(training: Any, run: Any) -> tuple[str, dict[str, Tensor]]:
    return str(training.model), {name: value.detach().clone() for name, value in training.model.state_dict().items()}


def test_sizes_are_inferred_and_weights_are_those_written_by_hand(tmp_path: Any) -> None:
    torch.manual_seed(SEED)
    theirs = by_hand()
    for [(described, weights)] in on_ranks(2, in_world, [run_of(tmp_path / "run", job())], weights_at_start):
        assert "Lazy" not in described
        assert weights.keys() == theirs.state_dict().keys()
        assert all(torch.equal(weights[name], value) for name, value in theirs.state_dict().items())


def test_layers_whose_sizes_are_given_need_no_batch() -> None:
    ours = network(target="sequential", layers=[{"target": "Linear", "in_features": 3, "out_features": 2}, "Tanh"])
    torch.manual_seed(SEED)
    theirs = nn.Sequential(nn.Linear(3, 2), nn.Tanh())
    assert torch.equal(ours(torch.ones(1, 3)), theirs(torch.ones(1, 3)))


def test_sizes_come_from_a_checkpoint_too(tmp_path: Any) -> None:
    layers = [*LAYERS[:2], {"target": "ConvTranspose2d", "out_channels": 6, "kernel_size": 2, "groups": 2}, *LAYERS[4:]]
    run = run_of(tmp_path / "run", job({"target": "sequential", "layers": layers}, max_steps=1))
    trained({"run": run}, lambda _: 1)
    weights, spec = last_weights(run), read_job(run).train
    assert spec is not None
    model = make_model(spec, SEED, ALONE, like=weights)
    model.load_state_dict(weights)
    assert "Lazy" not in str(model)
    assert model(torch.ones(2, 1, 8, 8)).shape == (2, 10)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.flat, self.last = nn.Linear(8, 3), nn.Flatten(), nn.LazyLinear(10)

    def forward(self, image: Tensor) -> Tensor:
        return self.last(self.flat(self.first(image)))  # type: ignore[no-any-return]


def test_lazy_layers_of_ones_own_module_meet_a_batch_before_the_optimizer(tmp_path: Any) -> None:
    run = run_of(tmp_path / "run", job("test_sequential:Net"))
    torch.manual_seed(SEED)
    theirs = Net()
    theirs(torch.zeros(1, 1, 8, 8))
    [(_, one)], [(_, other)] = on_ranks(2, in_world, [run], weights_at_start)
    for name, value in theirs.state_dict().items():
        assert torch.equal(one[name], value)
        assert torch.equal(other[name], value)


def test_a_batch_that_does_not_go_through_is_told_with_the_layer(tmp_path: Any) -> None:
    layers = ["Flatten", {"target": "Linear", "out_features": 4}, {"target": "Conv2d", "out_channels": 2, "kernel_size": 3}]
    run = run_of(tmp_path / "run", job({"target": "sequential", "layers": layers}))
    with pytest.raises(WorkerError, match=r"its sizes cannot be inferred.*; layer 2 gets \(float32 \[2, 4\]\)") as told:
        build(run, read_job(run), ALONE)
    assert told.value.kind == "spec"


@pytest.mark.parametrize(("layer", "message"), [
    ({"target": "Conv3", "kernel_size": 3}, r"no layer is called 'Conv3'\. Did you mean 'Conv3d'\?"),
    ({"target": "Linear", "out_feature": 3}, r"unknown key 'out_feature'\. Did you mean 'out_features'\?"),
    ({"target": "Dropout", "p": 3}, "expected a number from 0 to 1"),
    ("Conv2d", "missing key 'out_channels'"),
])  # fmt: skip
def test_a_wrong_layer_is_refused_at_its_place(layer: Any, message: str) -> None:
    with pytest.raises(SpecError, match=rf"train\.model\.layers\[1\].*{message}"):
        network(target="sequential", layers=["ReLU", layer])


@pytest.mark.parametrize("entry", LAYER_ENTRIES, ids=lambda entry: entry.name)
def test_arguments_of_layers_are_torchs(entry: Any) -> None:
    theirs = inspect.signature(getattr(nn, entry.name)).parameters
    for name, (kind, default) in entry.arguments.items():
        if get_origin(kind) is Literal and len(get_args(kind)) > 2:
            continue
        optional = theirs[name].default is not inspect.Parameter.empty
        if default is REQUIRED:
            assert not optional or entry.name in ("Softmax", "LogSoftmax")
        elif default is not None:
            assert default == pytest.approx(getattr(theirs[name].default, "__name__", theirs[name].default))
