"""The built-in optimizers are torch's: same bits as a loop by hand, in one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from launcher.spec.catalogue import names
from launcher.spec.train import OptimizerTarget
from launcher.worker.optim import by_device
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
    ("cuda", {"target": "nadam"}, {}),
    ("cuda", {"target": "my:Own"}, {}),
])  # fmt: skip
def test_all_parameters_at_once_where_the_device_can(device: str, given: dict[str, Any], chosen: dict[str, Any]) -> None:
    assert by_device(OptimizerTarget(**given), [OnDevice(device)]) == chosen  # type: ignore[list-item]
