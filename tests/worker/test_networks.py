"""Built-in networks are the modules that one writes by hand with the same seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision.models
from torch import Tensor, nn

from launcher.errors import SpecError
from launcher.load import parse_job
from launcher.rundir import RunDir
from launcher.spec.catalogue import names
from launcher.spec.catalogue.activations import ACTIVATIONS
from launcher.spec.catalogue.torchvision_networks import TORCHVISION_NETWORKS
from launcher.worker.build import Training
from launcher.worker.models import recurrent
from launcher.worker.models.activations import activation_layer
from launcher.worker.models.vision import DroppedLinear, torchvision_model
from launcher.worker.network import make_model
from launcher.worker.step import gradient
from tests.worker.test_plain import trained
from tests.worker.worlds import ALONE, a_job, in_world, on_ranks, run_of

SEED = 3


def network(**model: Any) -> nn.Module:
    import yaml

    spec = parse_job(yaml.safe_dump(a_job(model=model))).train
    assert spec is not None
    return make_model(spec, SEED, ALONE)


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.SiLU(), nn.Dropout(0.3), nn.Linear(8, 4), nn.BatchNorm1d(4),
                         nn.SiLU(), nn.Dropout(0.3), nn.Linear(4, 3))  # fmt: skip


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ELU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ELU(), nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(6, 3),
    )  # fmt: skip


class ByHand(nn.Module):
    """torch's own layers on top of each other, without packing."""

    def __init__(self, layers: nn.Module, width: int) -> None:
        super().__init__()
        self.layers, self.head = layers, nn.Linear(width, 3)

    def forward(self, sequences: Tensor) -> Tensor:
        return self.head(self.layers(sequences)[0])  # type: ignore[no-any-return]


class LastByHand(ByHand):
    def forward(self, sequences: Tensor) -> Tensor:
        _, (hidden, _) = self.layers(sequences)
        return self.head(torch.cat([hidden[-2], hidden[-1]], dim=1))  # type: ignore[no-any-return]


def resnet() -> nn.Module:
    return torchvision.models.resnet18(num_classes=10)


def small_vit() -> nn.Module:
    return torchvision.models.vit_b_32(num_classes=10, image_size=32, dropout=0.2)


SEQUENCES = {"input_size": 6, "hidden_size": 5, "out_features": 3}
NETWORKS: dict[str, tuple[dict[str, Any], Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": ({"target": "mlp", "in_features": 6, "hidden": [8, 4], "out_features": 3, "activation": "silu", "dropout": 0.3,
             "batch_norm": True}, mlp, (4, 6)),
    "cnn": ({"target": "cnn", "in_channels": 2, "channels": [4, 6], "num_classes": 3, "activation": "ELU", "dropout": 0.2},
            cnn, (4, 2, 8, 8)),
    "rnn": ({"target": "rnn", **SEQUENCES, "output": "all", "activation": "relu"},
            lambda: ByHand(nn.RNN(6, 5, batch_first=True, nonlinearity="relu"), 5), (4, 7, 6)),
    "gru": ({"target": "gru", **SEQUENCES, "num_layers": 3, "output": "all", "dropout": 0.2},
            lambda: ByHand(nn.GRU(6, 5, 3, batch_first=True), 5), (4, 7, 6)),
    "lstm": ({"target": "lstm", **SEQUENCES, "num_layers": 2, "bidirectional": True},
             lambda: LastByHand(nn.LSTM(6, 5, 2, batch_first=True, bidirectional=True), 10), (4, 7, 6)),
    "resnet18": ({"target": "resnet18", "num_classes": 10}, resnet, (2, 3, 32, 32)),
    "vit_b_32": ({"target": "vit_b_32", "num_classes": 10, "image_size": 32, "dropout": 0.2}, small_vit, (2, 3, 32, 32)),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_the_module_written_by_hand(name: str) -> None:
    target, by_hand, shape = NETWORKS[name]
    ours = network(**target)
    torch.manual_seed(SEED)
    theirs = by_hand()
    assert [tuple(each.shape) for each in ours.parameters()] == [tuple(each.shape) for each in theirs.parameters()]
    batch = torch.randn(shape)
    assert torch.equal(ours.eval()(batch), theirs.eval()(batch))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_torchs(name: str) -> None:
    line = torch.linspace(-8, 8, 33)
    assert ACTIVATIONS[name].torch_name.lower() == name.replace("_", "")
    theirs = getattr(nn, ACTIVATIONS[name].torch_name)().eval()
    assert torch.equal(activation_layer(name).eval()(line), theirs(line))
    assert type(activation_layer(ACTIVATIONS[name].torch_name)) is type(theirs)


def test_an_activation_of_ones_own_is_found_by_its_path() -> None:
    model = network(target="mlp", in_features=2, out_features=2, activation="torch.nn.modules.activation:Softplus")
    assert isinstance(model[1], nn.Softplus)


def test_an_unknown_activation_is_refused_with_the_nearest() -> None:
    with pytest.raises(SpecError, match=r"no activation is called 'gleu'\. Did you mean 'gelu'\?"):
        network(target="mlp", in_features=2, out_features=2, activation="gleu")


@pytest.mark.parametrize("output", ["last", "all"])
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_what_lies_behind_a_sequence_has_no_part(cell: str, output: str) -> None:
    model = network(target=cell, **SEQUENCES, num_layers=2, bidirectional=True, output=output).double()
    lengths, batch = torch.tensor([3, 7, 1]), torch.randn(3, 7, 6, dtype=torch.float64)
    together = model(batch, lengths)
    for row, steps in enumerate(lengths.tolist()):
        alone = model(batch[row : row + 1, :steps])[0]
        assert (together[row] if output == "last" else together[row, :steps]).allclose(alone, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("output", "padded"), [("last", 0), ("all", 1)])
def test_states_are_padded_again_only_where_every_step_is_wanted(
    monkeypatch: pytest.MonkeyPatch, output: str, padded: int
) -> None:
    calls = []
    pad = recurrent.pad_packed_sequence
    monkeypatch.setattr(recurrent, "pad_packed_sequence", lambda *given, **named: (calls.append(1), pad(*given, **named))[1])
    network(target="gru", **SEQUENCES, output=output)(torch.randn(3, 7, 6), torch.tensor([3, 7, 1]))
    assert len(calls) == padded


def test_sequences_train_alike_at_any_world_size(tmp_path: Any) -> None:
    model = {"target": "gru", "input_size": 4, "hidden_size": 6, "num_layers": 2, "bidirectional": True, "out_features": 5}
    job = a_job(model=model, loss="sets:of_sequences", precision="fp64", max_steps=6,
                data={"train": {"target": "sets:Sequences", "samples": 31}, "batch_size": 15})  # fmt: skip
    runs = {str(size): run_of(tmp_path / str(size), job | {"log": {"every": "1 steps", "plots": False}}) for size in (1, 3)}
    trained(runs, int)
    one, two = (last_weights(run) for run in runs.values())
    assert max(float((one[name] - two[name]).abs().max()) for name in one) <= 1e-12


def last_weights(run: RunDir) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(max(run.checkpoints.glob("step-*")) / "model.safetensors")


def test_the_list_of_torchvisions_networks_is_torchvisions() -> None:
    assert sorted(each.name for each in TORCHVISION_NETWORKS) == torchvision.models.list_models(module=torchvision.models)
    assert {each.name for each in TORCHVISION_NETWORKS} <= set(names("model"))


SOME_OF_REGNET = [each for each in TORCHVISION_NETWORKS if "regnet" not in each.name or each.name.endswith("400mf")]
"""All but the large ones of a family that computes its widths with tensors, and so cannot be built without its weights."""


@pytest.mark.parametrize("entry", SOME_OF_REGNET, ids=lambda entry: entry.name)
@pytest.mark.long
def test_every_network_of_torchvision_has_its_classes_and_dropout(entry: Any) -> None:
    with torch.device("cpu" if "regnet" in entry.name else "meta"):
        model = torchvision_model(name=entry.name, num_classes=7, dropout=0.4)
    output = [module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)][-1]
    assert output.weight.shape[0] == 7
    rates = {module.p for module in model.modules() if isinstance(module, nn.Dropout)}
    assert 0.4 in rates or (isinstance(output, DroppedLinear) and output.dropout == 0.4)


def test_the_first_convolution_takes_the_channels_there_are() -> None:
    model = network(target="mobilenet_v3_small", num_classes=5, in_channels=1)
    assert model.eval()(torch.randn(2, 1, 32, 32)).shape == (2, 5)


def test_dropout_in_front_of_the_head_changes_no_name_and_no_evaluation() -> None:
    plain, dropping = (network(target="resnet18", num_classes=4, dropout=rate) for rate in (None, 0.5))
    batch = torch.randn(3, 3, 32, 32)
    assert plain.state_dict().keys() == dropping.state_dict().keys()
    assert torch.equal(plain.eval()(batch), dropping.eval()(batch))
    plain(batch)
    assert isinstance(dropping.train().fc, DroppedLinear)
    ones = torch.ones(200, 512)
    assert not torch.equal(dropping.fc(ones), plain.fc(ones))


DROPPING: dict[str, dict[str, Any]] = {
    "mlp": {"target": "mlp", "in_features": 6, "hidden": [500], "out_features": 5, "dropout": 0.3},
    "cnn": {"target": "cnn", "in_channels": 1, "channels": [500], "num_classes": 5, "dropout": 0.3},
    "lstm": {"target": "lstm", "input_size": 6, "hidden_size": 500, "num_layers": 2, "out_features": 5, "dropout": 0.3},
}
SHAPES = {"mlp": (64, 6), "cnn": (64, 1, 8, 8), "lstm": (64, 3, 6)}


def dropped(model: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Filled with (input, output) of every dropout from now on."""
    seen: list[tuple[Tensor, Tensor]] = []
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.register_forward_hook(lambda _module, inputs, output: seen.append((inputs[0].detach(), output.detach())))
    return seen


@pytest.mark.parametrize("name", DROPPING)
def test_dropout_drops_its_share_and_scales_the_rest(name: str) -> None:
    model = network(**DROPPING[name])
    seen = dropped(model)
    batch = torch.randn(SHAPES[name])
    model(batch)
    assert len(seen) == (2 if name == "lstm" else 1)
    for before, after in seen:
        there = before != 0
        zeros = (after[there] == 0).double().mean()
        assert abs(zeros - 0.3) < 5 * (0.3 * 0.7 / there.sum()) ** 0.5
        assert torch.equal(after[after != 0], (before / 0.7)[after != 0]) or after[after != 0].allclose(before[after != 0] / 0.7)
    model.eval()
    assert torch.equal(model(batch), model(batch))


Passed = tuple[Tensor, Tensor]


def first_masks(training: Training, run: RunDir) -> list[list[Passed]]:
    """Of the first step, drawn twice with other draws between them: what came into dropout, and what it let through."""
    seen = dropped(training.model)
    portion = next(training.train.portions())
    drawn = []
    for _ in range(2):
        gradient(training, portion, 0)
        drawn.append([*seen])
        seen.clear()
        torch.rand(5)
    return drawn


def test_dropout_differs_between_ranks_and_is_a_function_of_the_step(tmp_path: Any) -> None:
    of_digits = {"train": {"target": "fake_data", "shape": [6], "num_classes": 5, "samples": 40}, "batch_size": 20}
    run = run_of(tmp_path / "run", a_job(model=DROPPING["mlp"], data=of_digits))
    [[first, again]], [[other, _]] = on_ranks(2, in_world, [run], first_masks)
    (came, passed), (_, once_more), (elsewhere, passed_there) = first[0], again[0], other[0]
    assert torch.equal(passed, once_more)
    there = (came != 0) & (elsewhere != 0)  # what relu left alone on both ranks
    alike = ((passed == 0) == (passed_there == 0))[there].double().mean()
    assert abs(alike - (0.3**2 + 0.7**2)) < 0.05
