"""What a step does to the layers, as it would be measured by hand on the whole batch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.amp.grad_scaler import GradScaler

from launcher.rundir import RunDir
from launcher.worker.build import build
from launcher.worker.data.digits import digits
from launcher.worker.data.nested import on_device
from launcher.worker.data.order import Order
from launcher.worker.job import read_job
from launcher.worker.layers import Layers, group_of
from launcher.worker.models.mlp import mlp
from launcher.worker.state import TrainState
from launcher.worker.step import take_step, without_samples
from tests.worker.test_plain import train_all
from tests.worker.worlds import ALONE, a_job, on_ranks, run_of

SEED, BATCH, STEPS, RATE = 3, 50, 8, 4.0
MLP: dict[str, Any] = {"in_features": 64, "hidden": [16, 16], "out_features": 10}


def job(**train: Any) -> dict[str, Any]:
    described = a_job(
        model={"target": "mlp", **MLP}, optimizer={"target": "sgd", "lr": RATE}, precision="fp64", max_steps=STEPS,
        data={"train": {"target": "digits", "flatten": True}, "batch_size": BATCH, "micro_batch_size": 7}, clip_grad_norm=0.5,
    )  # fmt: skip
    described["train"] |= train
    return described | {"log": {"every": "3 steps", "gradients": "4 steps", "plots": False}}


def rows(run: RunDir) -> dict[int, dict[str, float]]:
    return {row["step"]: row for row in map(json.loads, run.metrics.read_text().splitlines())}


def by_hand() -> dict[int, dict[str, float]]:
    """Of every step, from a loop over whole batches."""
    dataset = digits(flatten=True)
    inputs, targets = dataset.tensors
    order = Order(len(dataset), SEED, shuffle=True).samples(0, 0, BATCH * STEPS)
    torch.manual_seed(SEED)
    net = mlp(**MLP).double()
    found = {}
    for step in range(STEPS):
        ids = torch.as_tensor(order[step * BATCH : (step + 1) * BATCH])
        hidden = [inputs[ids].double()]
        for layer in net:
            hidden.append(layer(hidden[-1]))
        grads = torch.autograd.grad(F.cross_entropy(hidden[-1], targets[ids]), list(net.parameters()))
        scale = min(1.0, 0.5 / (float(torch.cat([each.flatten() for each in grads]).norm()) + 1e-6))
        row = {}
        for layer, (weight, bias) in zip(("0", "2", "4"), zip(grads[::2], grads[1::2], strict=True), strict=True):
            held = torch.cat([each.flatten() for each in net[int(layer)].parameters()]).norm()
            norm = torch.cat([weight.flatten(), bias]).norm()
            row |= {f"grad/{layer}": norm, f"weight/{layer}": held, f"update/{layer}": norm * RATE * scale / held}
        for layer in (1, 3):
            row[f"dead/{layer}"] = (hidden[layer + 1] == 0).all(0).double().mean()
        found[step + 1] = {key: value.item() for key, value in row.items()}
        with torch.no_grad():
            for parameter, grad in zip(net.parameters(), grads, strict=True):
                parameter.sub_(RATE * scale * grad)
    return found


def test_rows_have_each_layers_norms_as_by_hand_at_any_world_size(tmp_path: Path) -> None:
    expected, written = by_hand(), {}
    for world in (1, 2, 3):
        run = run_of(tmp_path / str(world), job())
        on_ranks(world, train_all, [run])
        written[world] = rows(run)
    for found in written.values():
        assert [*found] == [3, 4, 6, 8]
        assert not any("/" in key and key != "train/loss" for step in (3, 6) for key in found[step])
        for step in (4, 8):
            assert {key: found[step][key] for key in expected[step]} == pytest.approx(expected[step], rel=1e-9)
            assert [key for key in found[step] if key.startswith("grad/")] == ["grad/0", "grad/2", "grad/4"]
    assert expected[8]["dead/3"] > 0


def test_gradients_are_logged_without_the_scale_of_fp16(tmp_path: Path) -> None:
    """And before they are clipped."""
    run = run_of(tmp_path / "run", job() | {"log": {"gradients": "1 step", "plots": False}})
    found = []
    for scaler in (None, GradScaler("cpu", init_scale=1024.0)):
        training = build(run, read_job(run), ALONE)
        training.accelerator.scaler = scaler
        state = TrainState(model=training.model, optimizer=training.optimizer)
        take_step(run, training, state, next(training.train.portions()))
        found.append(training.layers.row(ALONE))
    assert found[1] == pytest.approx(found[0], rel=1e-12)


def test_steps_that_are_not_looked_at_have_no_hooks() -> None:
    net = mlp(**MLP)
    layers = Layers(net)
    with layers.units(1, None):
        assert not net[1]._forward_hooks
    assert not layers.looking


@pytest.mark.parametrize(("path", "group"), [
    ("", "model"), ("fc", "fc"), ("0", "0"), ("layer1.0.conv1", "layer1.0"), ("features.3", "features.3"),
    ("features.denseblock1.denselayer2.conv1", "features.denseblock1"), ("head.linear", "head.linear"),
    ("encoder.layers.encoder_layer_0.mlp.0", "encoder.layers.encoder_layer_0"), ("layers.1", "layers.1"),
])  # fmt: skip
def test_groups_are_the_first_names_of_a_path(path: str, group: str) -> None:
    assert group_of(path) == group


def test_channels_of_images_are_units() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU())
    with torch.no_grad():
        net[0].weight.fill_(1.0)
        net[0].bias.copy_(torch.tensor([0.0, -9.0]))
    layers = Layers(net)
    layers.looking = True
    layers.alive = {}
    net[1].register_forward_hook(layers.heeding("1"))
    net(torch.rand(4, 1, 3, 3))
    assert layers.dead(ALONE) == {"1": 0.5}


def test_units_of_a_sample_that_stands_in_for_none_do_not_count(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", job() | {"log": {"gradients": "1 step", "plots": False}})
    training = build(run, read_job(run), ALONE)
    batch = next(training.train.portions()).micro[0]
    with training.layers.units(1, None):
        without_samples(training, on_device(batch, ALONE.device, training.dtype))
    assert training.layers.dead(ALONE) == {"1": 1.0, "3": 1.0}
    assert not any(module._forward_hooks for module in training.model.modules()), "steps that are not looked at cost nothing"


def test_sparse_gradients_are_summed_before_their_norm_is_taken() -> None:
    net = nn.Embedding(5, 3, sparse=True)
    layers = Layers(net, looking=True)
    net(torch.tensor([1, 1, 2])).sum().backward()
    layers.gradients()
    assert layers.norms[0] == pytest.approx(15**0.5)
