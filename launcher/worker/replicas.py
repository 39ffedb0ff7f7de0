"""`parallel: data_parallel`: one process, a copy of the model on each GPU that it sees, for the length of a step."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import convert_to_fp32
from torch import nn

from launcher.worker.batch_norm import norms
from launcher.worker.randomness import key
from launcher.worker.world import World


class Replicas(nn.DataParallel[nn.Module]):
    """torch's own, with dropout that is a function of the step on every GPU, and with mixed precision."""

    def __init__(self, model: nn.Module, accelerator: Accelerator) -> None:
        super().__init__(model)
        self.accelerator = accelerator

    def forward(self, *given: Any, **named: Any) -> Any:
        self.seed_others()
        return convert_to_fp32(super().forward(*given, **named))

    def seed_others(self) -> None:
        """The step has seeded the generator of the first GPU alone."""
        seed = torch.cuda.default_generators[self.device_ids[0]].initial_seed()
        for number, device in enumerate(self.device_ids[1:], 1):
            torch.cuda.default_generators[device].manual_seed(key(seed, number))

    def replicate(self, module: nn.Module, device_ids: Any) -> list[nn.Module]:
        """accelerate puts mixed precision into the model's `forward`, which in a copy would still run the original."""
        copies = super().replicate(module, device_ids)
        for copy in copies:
            copy.__dict__.pop("forward", None)
            copy.forward = self.in_precision(copy.forward)
        return copies

    def in_precision(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        """In each copy: torch tells the threads that it runs them in whether there is autocast, but not that it is to bf16."""

        @wraps(forward)
        def precise(*given: Any, **named: Any) -> Any:
            with self.accelerator.autocast():
                return forward(*given, **named)

        return precise


def replicated(accelerator: Accelerator, model: nn.Module, world: World) -> nn.Module:
    """The prepared model, copied where there are several GPUs; told then what that costs."""
    gpus = torch.cuda.device_count() if world.device.type == "cuda" else 0
    if gpus < 2:
        return model
    print(warning(gpus, batch_norm=bool(norms(model))), flush=True)
    return Replicas(model, accelerator)


def warning(gpus: int, *, batch_norm: bool) -> str:
    statistics = ", and batch norm's running statistics are those of the first GPU's share" if batch_norm else ""
    return (
        f"warning: train.parallel: data_parallel drives {gpus} GPUs from one process: the model is copied to each of them in "
        "every step, Python's threads take turns, and the outputs are gathered on the first GPU, which needs more memory"
        f"{statistics}. It is slower than ddp with a process per GPU. Write parallel: ddp and resources: {{procs_per_node: auto}}"
    )
