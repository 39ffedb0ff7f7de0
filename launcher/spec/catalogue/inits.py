"""Built-in initial values: torch.nn.init's."""

from __future__ import annotations

from typing import Literal

from launcher.spec.catalogue.entry import REQUIRED, Arguments, Entry, Rate

GAIN: Arguments = {"gain": (float, 1.0)}
KAIMING: Arguments = {
    "a": (float, 0.0), "mode": (Literal["fan_in", "fan_out"], "fan_in"),
    "nonlinearity": (Literal["linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"], "leaky_relu"),
}  # fmt: skip
NORMAL: Arguments = {"mean": (float, 0.0), "std": (Rate, 1.0)}


def entry(name: str, doc: str, arguments: Arguments) -> Entry:
    return Entry("init", name, f"torch.nn.init:{name}_", doc, arguments)


INITS = (
    entry("kaiming_uniform", "for relu and its kin: variance 2 / fan (He et al. 2015), uniform", KAIMING),
    entry("kaiming_normal", "for relu and its kin: variance 2 / fan (He et al. 2015), normal", KAIMING),
    entry("xavier_uniform", "for tanh and sigmoid: variance 2 / (fan in + fan out) (Glorot and Bengio 2010), uniform", GAIN),
    entry("xavier_normal", "for tanh and sigmoid: variance 2 / (fan in + fan out) (Glorot and Bengio 2010), normal", GAIN),
    entry("orthogonal", "for recurrent networks: no direction shrinks or grows (Saxe et al. 2013)", GAIN),
    entry("normal", "normally distributed", NORMAL),
    entry("trunc_normal", "normally distributed, drawn anew outside [a, b]", {**NORMAL, "a": (float, -2.0), "b": (float, 2.0)}),
    entry("uniform", "uniform between a and b", {"a": (float, 0.0), "b": (float, 1.0)}),
    entry("zeros", "zeros", {}),
    entry("ones", "ones", {}),
    entry("constant", "one value everywhere", {"val": (float, REQUIRED)}),
)
