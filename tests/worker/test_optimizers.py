"""The built-in optimizers are torch's: same bits as a loop by hand, in one process."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from launcher.spec.catalogue import names
from launcher.spec.train import OptimizerTarget
from launcher.worker.optim import by_device
from launcher.worker.targets import built
from tests.worker.plain import OPTIMIZERS, Plain
from tests.worker.test_plain import SEED, TARGETS, Case, trained
from tests.worker.worlds import run_of


def test_twenty_steps_have_the_bits_of_plain_pytorch(tmp_path: Path) -> None:
    assert {TARGETS.get(name, name) for name in OPTIMIZERS} == set(names("optimizer"))
    plains = {
        name: Plain(seed=SEED, samples=40, batch=8, steps=20, kind="vectors", loss="mse", optimizer=name) for name in OPTIMIZERS
    }
    cases = {name: Case(plain=plain, world=1, then=1, stop=1) for name, plain in plains.items()}
    jobs = {name: case.job() for name, case in cases.items()}
    for job in jobs.values():
        job["train"]["precision"] = "fp32"
    runs = {name: run_of(tmp_path / name, job) for name, job in jobs.items()}
    trained(runs, lambda _: 1)
    for name, run in runs.items():
        net, _ = plains[name].train(cases[name].order, torch.float32)
        weights = load_file(run.checkpoints / "step-00000020" / "model.safetensors")
        assert all(torch.equal(weights[key], value) for key, value in net.state_dict().items()), name


class OnDevice:
    """A parameter on a device that need not be there."""

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)

    def is_floating_point(self) -> bool:
        return True


@pytest.mark.parametrize(("device", "given", "chosen"), [
    ("cpu", {"target": "adamw"}, {}),
    ("cuda", {"target": "adamw"}, {"fused": True}),
    ("cuda", {"target": "adamw", "foreach": True}, {}),
    ("cuda", {"target": "adamw", "fused": False}, {}),
    ("cuda", {"target": "adamw", "capturable": True}, {}),
    ("cuda", {"target": "sgd"}, {}),
    ("cuda", {"target": "adagrad"}, {}),
    ("cuda", {"target": "nadam"}, {}),
    ("cuda", {"target": "my:Own"}, {}),
])  # fmt: skip
def test_all_parameters_at_once_where_the_device_can(device: str, given: dict[str, Any], chosen: dict[str, Any]) -> None:
    assert by_device(OptimizerTarget(**given), [OnDevice(device)]) == chosen  # type: ignore[list-item]


def weights_after(target: OptimizerTarget, steps: list[list[Tensor | None]], choice: dict[str, Any], device: str) -> list[Any]:
    """Of steps with these gradients, under fp16's scaler."""
    parameters = [nn.Parameter(torch.ones(4, 2, device=device)) for _ in steps[0]]
    optimizer, scaler = built("optimizer", target, "train.optimizer", parameters, **choice), GradScaler(device)
    for gradients in steps:
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = None if gradient is None else scaler.scale(gradient.to(device))
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
    return parameters


SOME, ENDLESS = torch.tensor([0.5, 1.0]).repeat(4, 1), torch.full((4, 2), torch.inf)
OF_TWO_ROWS = torch.sparse_coo_tensor([[0, 2]], SOME[:2], (4, 2), check_invariants=True)
OVERFLOW_FIRST = [[ENDLESS, SOME], [SOME, SOME], [2 * SOME, SOME]]
ONE_LATE = [[SOME, None], [SOME, SOME], [2 * SOME, SOME]]
SPARSE = [[SOME, OF_TWO_ROWS], [2 * SOME, OF_TWO_ROWS]]
MOMENTUM, ADAGRAD, ADAMW = (
    OptimizerTarget(**given) for given in ({"target": "sgd", "momentum": 0.9}, {"target": "adagrad"}, {"target": "adamw"})
)


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("device", [
    "cpu", pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]),
])  # fmt: skip
@pytest.mark.parametrize(("target", "steps"), [
    *product((MOMENTUM, ADAGRAD, ADAMW), (OVERFLOW_FIRST, ONE_LATE)), *product((MOMENTUM, ADAGRAD), (SPARSE,)),
])  # fmt: skip
def test_what_is_chosen_for_a_gpu_stands_what_torchs_own_choice_stands(
    monkeypatch: pytest.MonkeyPatch, target: OptimizerTarget, steps: list[list[Tensor | None]], device: str
) -> None:
    monkeypatch.setattr(torch, "empty_like", lambda tensor: torch.full_like(tensor, torch.nan))  # as memory may happen to be
    chosen = by_device(target, [OnDevice("cuda")])  # type: ignore[list-item]
    torch.testing.assert_close(weights_after(target, steps, chosen, device), weights_after(target, steps, {}, device))
