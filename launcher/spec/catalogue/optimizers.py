"""Built-in optimizers: torch's."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from launcher.spec.catalogue.entry import Arguments, Entry, Rate, Share

ADAM: Arguments = {
    "lr": (Rate, 1e-3), "betas": (Annotated[list[Share], Field(min_length=2, max_length=2)], [0.9, 0.999]), "eps": (Rate, 1e-8),
    "weight_decay": (Rate, 0.0), "amsgrad": (bool, False),
}  # fmt: skip

OPTIMIZERS = (
    Entry("optimizer", "sgd", "torch.optim:SGD", "stochastic gradient descent", {
        "lr": (Rate, 1e-3), "momentum": (Rate, 0.0), "dampening": (float, 0.0), "weight_decay": (Rate, 0.0),
        "nesterov": (bool, False)}),
    Entry("optimizer", "adam", "torch.optim:Adam", "Adam (Kingma and Ba 2015)", ADAM),
    Entry("optimizer", "adamw", "torch.optim:AdamW", "Adam with decoupled weight decay (Loshchilov and Hutter 2019)",
          {**ADAM, "weight_decay": (Rate, 1e-2)}),
)  # fmt: skip
