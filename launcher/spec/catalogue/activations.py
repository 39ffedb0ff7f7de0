"""Activations by name, and when to pick which."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, WithJsonSchema

from launcher.errors import did_you_mean, near
from launcher.spec.base import About, Said


class Activation(NamedTuple):
    torch_name: str
    """In torch.nn."""
    when: str


ACTIVATIONS: Mapping[str, Activation] = {
    "relu": Activation("ReLU", "the first to try in mlp and cnn: cheap, gradients do not fade. Units can die at a high rate"),
    "leaky_relu": Activation("LeakyReLU", "where units of relu die: a slope of 0.01 below zero keeps them learning"),
    "prelu": Activation("PReLU", "leaky_relu whose slope is learned; leave it out of weight decay"),
    "rrelu": Activation("RReLU", "leaky_relu with a random slope in training: against overfitting"),
    "relu6": Activation("ReLU6", "relu cut at 6: for networks that will run in low precision"),
    "elu": Activation("ELU", "smooth below zero, means near zero: deep networks without batch norm"),
    "celu": Activation("CELU", "elu with a continuous slope for every alpha"),
    "selu": Activation("SELU", "keeps mean and variance by itself in plain mlps; with lecun-normal weights and alpha dropout"),
    "gelu": Activation("GELU", "transformers, and most recent networks for images; a little dearer than relu"),
    "silu": Activation("SiLU", "x * sigmoid(x), also called swish: EfficientNet, diffusion models; much like gelu"),
    "mish": Activation("Mish", "much like silu, dearer"),
    "hardswish": Activation("Hardswish", "silu made of straight pieces: for mobile devices"),
    "tanh": Activation("Tanh", "outputs in (-1, 1), centred: recurrent networks, small smooth regressions. Fades in deep ones"),
    "hardtanh": Activation("Hardtanh", "tanh made of straight pieces"),
    "softsign": Activation("Softsign", "like tanh with slower saturation"),
    "sigmoid": Activation("Sigmoid", "outputs in (0, 1): gates and probabilities. Between layers gradients vanish with depth"),
    "hardsigmoid": Activation("Hardsigmoid", "sigmoid made of straight pieces: for mobile devices"),
    "log_sigmoid": Activation("LogSigmoid", "the logarithm of sigmoid, computed safely"),
    "softplus": Activation("Softplus", "smooth relu, always positive: scales, variances, rates"),
    "softshrink": Activation("Softshrink", "sets small values to zero: sparse codes"),
    "hardshrink": Activation("Hardshrink", "sets small values to zero and leaves the others as they are"),
    "tanhshrink": Activation("Tanhshrink", "x - tanh(x): nearly zero around zero"),
    "identity": Activation("Identity", "none at all: a linear network, to compare with"),
}
TORCH_NAMES = {each.torch_name for each in ACTIVATIONS.values()}
OWN = r"[A-Za-z_]\w*(\.\w+)*[.:]\w+(\.\w+)*"
"""A class of the user's own, by import path."""


def known_activation(name: str) -> str:
    """Raises ValueError with the nearest name."""
    if name in ACTIVATIONS or name in TORCH_NAMES or re.fullmatch(OWN, name):
        return name
    guess = did_you_mean(near(name, [*TORCH_NAMES, *ACTIVATIONS]))
    raise ValueError(
        f"no activation is called '{name}'.{guess} Built in: {', '.join(ACTIVATIONS)}; or an import path such as my_pkg.mod:Thing"
    )


ActivationName = Annotated[
    str,
    AfterValidator(known_activation),
    Said("the name of an activation, such as relu or ReLU, or an import path", "gelu"),
    WithJsonSchema({"anyOf": [{"enum": [*ACTIVATIONS, *sorted(TORCH_NAMES)]}, {"type": "string", "pattern": f"^{OWN}$"}]}),
    About("Between layers.", tuple(f"{name}: {each.when}." for name, each in ACTIVATIONS.items())),
]
