"""The layers of a `sequential` network: torch.nn's, by the names of their classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from launcher.spec.base import About
from launcher.spec.catalogue.activations import ACTIVATIONS
from launcher.spec.catalogue.entry import REQUIRED, Arguments, Count, Entry, Rate, Share

Size = int | list[int]
"""A number for every dimension, or one for each."""
Inferred = Annotated[Count | None, About("What comes in; inferred from the first batch where it is not given.")]
INFERRED = {"Linear": "in_features", "Conv": "in_channels", "BatchNorm": "num_features", "InstanceNorm": "num_features"}
"""Beginning of a layer's name -> its argument that can be inferred."""

CONV: Arguments = {
    "in_channels": (Inferred, None), "out_channels": (Count, REQUIRED), "kernel_size": (Size, REQUIRED), "stride": (Size, 1),
    "padding": (Literal["same", "valid"] | Size, 0), "dilation": (Size, 1), "groups": (Count, 1), "bias": (bool, True),
    "padding_mode": (Literal["zeros", "reflect", "replicate", "circular"], "zeros"),
}  # fmt: skip
TRANSPOSED: Arguments = {
    "in_channels": (Inferred, None), "out_channels": (Count, REQUIRED), "kernel_size": (Size, REQUIRED), "stride": (Size, 1),
    "padding": (Size, 0), "output_padding": (Size, 0), "groups": (Count, 1), "bias": (bool, True), "dilation": (Size, 1),
}  # fmt: skip
NORM: Arguments = {
    "num_features": (Inferred, None), "eps": (Rate, 1e-5), "momentum": (Share | None, 0.1), "affine": (bool, True),
    "track_running_stats": (bool, True),
}  # fmt: skip
POOL: Arguments = {
    "kernel_size": (Size, REQUIRED),
    "stride": (Size | None, None),
    "padding": (Size, 0),
    "ceil_mode": (bool, False),
}
ADAPTIVE: Arguments = {"output_size": (int | list[int | None], REQUIRED)}
DROPOUT: Arguments = {"p": (Share, 0.5)}
SHAPE: Arguments = {"normalized_shape": (Size, REQUIRED)}
PADDING: Arguments = {"padding": (Size, REQUIRED)}
SOFTMAX: Arguments = {"dim": (int, REQUIRED)}

LAYERS: Mapping[str, tuple[str, Arguments]] = {
    "Linear": ("fully connected", {"in_features": (Inferred, None), "out_features": (Count, REQUIRED), "bias": (bool, True)}),
    **{f"Conv{n}d": ("convolution", CONV) for n in (1, 2, 3)},
    **{f"ConvTranspose{n}d": ("transposed convolution", TRANSPOSED) for n in (1, 2, 3)},
    **{f"MaxPool{n}d": ("maximum of each window", {**POOL, "dilation": (Size, 1)}) for n in (1, 2, 3)},
    **{f"AvgPool{n}d": ("mean of each window", {**POOL, "count_include_pad": (bool, True)}) for n in (1, 2, 3)},
    **{f"AdaptiveAvgPool{n}d": ("mean over windows that give this output size", ADAPTIVE) for n in (1, 2, 3)},
    **{f"AdaptiveMaxPool{n}d": ("maximum over windows that give this output size", ADAPTIVE) for n in (1, 2, 3)},
    **{f"BatchNorm{n}d": ("batch norm, over all ranks' samples", NORM) for n in (1, 2, 3)},
    **{f"InstanceNorm{n}d": ("instance norm", {**NORM, "affine": (bool, False), "track_running_stats": (bool, False)})
       for n in (1, 2, 3)},
    "GroupNorm": ("group norm", {"num_groups": (Count, REQUIRED), "num_channels": (Count, REQUIRED), "eps": (Rate, 1e-5),
                                 "affine": (bool, True)}),
    "LayerNorm": ("layer norm", {**SHAPE, "eps": (Rate, 1e-5), "elementwise_affine": (bool, True), "bias": (bool, True)}),
    "RMSNorm": ("root-mean-square norm", {**SHAPE, "eps": (Rate | None, None), "elementwise_affine": (bool, True)}),
    "LocalResponseNorm": ("local response norm", {"size": (Count, REQUIRED), "alpha": (float, 1e-4), "beta": (float, 0.75),
                                                  "k": (float, 1.0)}),
    "Dropout": ("dropout", DROPOUT),
    **{f"Dropout{n}d": ("dropout of whole channels", DROPOUT) for n in (1, 2, 3)},
    "AlphaDropout": ("dropout that keeps mean and variance, for selu", DROPOUT),
    "FeatureAlphaDropout": ("alpha dropout of whole channels", DROPOUT),
    "Flatten": ("all but the samples in one dimension", {"start_dim": (int, 1), "end_dim": (int, -1)}),
    "Unflatten": ("one dimension as several", {"dim": (int, REQUIRED), "unflattened_size": (list[int], REQUIRED)}),
    "Embedding": ("vectors of integers", {"num_embeddings": (Count, REQUIRED), "embedding_dim": (Count, REQUIRED),
                                          "padding_idx": (int | None, None)}),
    "Upsample": ("larger images", {"size": (Size | None, None), "scale_factor": (float | None, None), "mode": (
        Literal["nearest", "linear", "bilinear", "bicubic", "trilinear"], "nearest"), "align_corners": (bool | None, None)}),
    "PixelShuffle": ("channels to pixels", {"upscale_factor": (Count, REQUIRED)}),
    "PixelUnshuffle": ("pixels to channels", {"downscale_factor": (Count, REQUIRED)}),
    "ChannelShuffle": ("channels of groups mixed", {"groups": (Count, REQUIRED)}),
    **{f"{kind}Pad{n}d": (f"{kind.lower()} padding", PADDING) for kind in ("Zero", "Reflection", "Replication", "Circular")
       for n in (1, 2, 3)},
    **{f"ConstantPad{n}d": ("padding with a value", {**PADDING, "value": (float, REQUIRED)}) for n in (1, 2, 3)},
    "TransformerEncoderLayer": ("self-attention and a feed-forward network, over (N, T, d_model) where batch_first", {
        "d_model": (Count, REQUIRED), "nhead": (Count, REQUIRED), "dim_feedforward": (Count, 2048), "dropout": (Share, 0.1),
        "activation": (Literal["relu", "gelu"], "relu"), "layer_norm_eps": (Rate, 1e-5), "batch_first": (bool, False),
        "norm_first": (bool, False), "bias": (bool, True)}),
    "Softmax": ("shares that add up to 1", SOFTMAX),
    "LogSoftmax": ("logarithms of shares that add up to 1", SOFTMAX),
    "GLU": ("one half times the sigmoid of the other", {"dim": (int, -1)}),
    "Threshold": ("a value where the input is not above a threshold", {
        "threshold": (float, REQUIRED), "value": (float, REQUIRED)}),
}  # fmt: skip
"""name -> (doc, arguments), less those about devices, dtypes and memory."""

SHAPED: Mapping[str, Arguments] = {
    "LeakyReLU": {"negative_slope": (float, 0.01)}, "ELU": {"alpha": (float, 1.0)}, "CELU": {"alpha": (float, 1.0)},
    "GELU": {"approximate": (Literal["none", "tanh"], "none")}, "PReLU": {"num_parameters": (Count, 1), "init": (float, 0.25)},
    "RReLU": {"lower": (float, 1 / 8), "upper": (float, 1 / 3)}, "Softplus": {"beta": (float, 1.0), "threshold": (float, 20.0)},
    "Softshrink": {"lambd": (float, 0.5)}, "Hardshrink": {"lambd": (float, 0.5)},
    "Hardtanh": {"min_val": (float, -1.0), "max_val": (float, 1.0)},
}  # fmt: skip
"""Activations that take arguments."""


def entry(name: str, doc: str, arguments: Mapping[str, tuple[Any, Any]]) -> Entry:
    return Entry("layer", name, f"torch.nn:{name}", doc, arguments)


LAYER_ENTRIES = (
    *(entry(name, doc, arguments) for name, (doc, arguments) in LAYERS.items()),
    *(entry(each.torch_name, each.when, SHAPED.get(each.torch_name, {})) for each in ACTIVATIONS.values()),
)
