"""Built-in augmentations: torchvision's under their own names and arguments, and what torchvision has not got."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from launcher.spec.base import Said
from launcher.spec.catalogue.entry import REQUIRED, Arguments, Count, Entry, Rate, Share

TRANSFORMS = ("torchvision.transforms.v2",)
Number = float | list[float]
Two = Annotated[list[float], Field(min_length=2, max_length=2)]
Odd = Annotated[int, Field(ge=1), Said("an odd integer", "3")]
Positive = Annotated[float, Field(gt=0)]

P: Arguments = {"p": (Share, 0.5)}
FILL: Arguments = {"fill": (Number, 0.0)}
NO_FILL: Arguments = {"fill": (Number | None, None)}


def interpolation(default: str) -> Arguments:
    return {"interpolation": (Literal["nearest", "bilinear", "bicubic"], default)}


def torchvisions(name: str, doc: str, arguments: Arguments | None = None, *, pixels: bool = False) -> Entry:
    """`pixels`: whether it takes them from 0 to 1 alone, and so not after a normalisation."""
    told = f"{doc}; pixels from 0 to 1 (data with normalize: false)" if pixels else doc
    return Entry("augment", name, f"launcher.worker.data.transforms:{'of_pixels' if pixels else 'torchvisions'}", told,
                 arguments or {}, needs=TRANSFORMS)  # fmt: skip


def ours(name: str, builds: str, doc: str, arguments: dict[str, tuple[Any, Any]]) -> Entry:
    return Entry("augment", name, f"launcher.worker.data.augment:{builds}", doc, arguments)


MOVED = (
    torchvisions("random_crop", "a random window of the padded image", {
        "size": (Count | list[Count], REQUIRED), "padding": (int | list[int] | None, None), "pad_if_needed": (bool, False),
        **FILL, "padding_mode": (Literal["constant", "edge", "reflect", "symmetric"], "constant")}),
    torchvisions("random_resized_crop", "a window of random size and proportions, resized", {
        "size": (Count | list[Count], REQUIRED), "scale": (Two, [0.08, 1.0]), "ratio": (Two, [0.75, 4 / 3]),
        **interpolation("bilinear"), "antialias": (bool, True)}),
    torchvisions("random_horizontal_flip", "mirrored left to right with probability `p`", P),
    torchvisions("random_vertical_flip", "mirrored upside down with probability `p`", P),
    torchvisions("random_rotation", "turned by up to so many degrees", {
        "degrees": (Number, REQUIRED), **interpolation("nearest"), "expand": (bool, False), **FILL,
        "center": (Two | None, None)}),
    torchvisions("random_affine", "turned, shifted (by up to a share of each side), scaled and sheared", {
        "degrees": (Number, REQUIRED), "translate": (Two | None, None), "scale": (Two | None, None),
        "shear": (Number | None, None), **interpolation("nearest"), **FILL, "center": (Two | None, None)}),
    torchvisions("random_perspective", "seen from another side with probability `p`", {
        "distortion_scale": (Share, 0.5), **P, **interpolation("bilinear"), **FILL}),
    torchvisions("elastic_transform", "as seen through water: `alpha` how strong, `sigma` how smooth", {
        "alpha": (Number, 50.0), "sigma": (Number, 5.0), **interpolation("bilinear"), **FILL}),
    torchvisions("random_erasing", "a rectangle filled with `value` with probability `p`", {
        **P, "scale": (Two, [0.02, 0.33]), "ratio": (Two, [0.3, 3.3]), "value": (Number | Literal["random"], 0.0)}),
    torchvisions("gaussian_blur", "blurred", {"kernel_size": (Odd | list[Odd], 3), "sigma": (Number, [0.1, 2.0])}),
    torchvisions("random_channel_permutation", "its channels in another order"),
    torchvisions("random_grayscale", "without colours with probability `p`", {"p": (Share, 0.1)}),
)  # fmt: skip

COLOURED = (
    torchvisions("color_jitter", "brighter, darker, with other contrast, saturation and hue: each by up to so much", {
        "brightness": (Number | None, None), "contrast": (Number | None, None), "saturation": (Number | None, None),
        "hue": (Number | None, None)}, pixels=True),
    torchvisions("random_photometric_distort", "other brightness, contrast, saturation, hue and order of channels", {
        "brightness": (Two, [0.875, 1.125]), "contrast": (Two, [0.5, 1.5]), "saturation": (Two, [0.5, 1.5]),
        "hue": (Two, [-0.05, 0.05]), **P}, pixels=True),
    torchvisions("random_invert", "its negative with probability `p`", P, pixels=True),
    torchvisions("random_posterize", "with so many bits a channel with probability `p`", {
        "bits": (Annotated[int, Field(ge=1, le=8)], 4), **P}, pixels=True),
    torchvisions("random_solarize", "pixels above the threshold inverted with probability `p`", {"threshold": (Share, 0.5), **P},
                 pixels=True),
    torchvisions("random_adjust_sharpness", "sharper (a factor above 1) or softer with probability `p`", {
        "sharpness_factor": (Rate, 2.0), **P}, pixels=True),
    torchvisions("random_autocontrast", "the darkest pixel black and the brightest white with probability `p`", P, pixels=True),
    torchvisions("random_equalize", "its histogram flat with probability `p`", P, pixels=True),
    torchvisions("gaussian_noise", "with noise, and cut off below 0 and above 1 (noise: without the cut)", {
        "mean": (float, 0.0), "sigma": (Rate, 0.1), "clip": (bool, True)}, pixels=True),
    torchvisions("jpeg", "as JPEG of a quality from 1 to 100, or between two", {
        "quality": (Annotated[int, Field(ge=1, le=100)] | Annotated[list[int], Field(min_length=2, max_length=2)], [25, 75])},
                 pixels=True),
    torchvisions("auto_augment", "what was found for ImageNet, CIFAR-10 or SVHN (Cubuk et al. 2019)", {
        "policy": (Literal["imagenet", "cifar10", "svhn"], "imagenet"), **interpolation("nearest"), **NO_FILL}, pixels=True),
    torchvisions("rand_augment", "`num_ops` changes of one strength (Cubuk et al. 2020)", {
        "num_ops": (Count, 2), "magnitude": (Annotated[int, Field(ge=0)], 9), "num_magnitude_bins": (Count, 31),
        **interpolation("nearest"), **NO_FILL}, pixels=True),
    torchvisions("trivial_augment_wide", "one change of random strength (Mueller and Hutter 2021)", {
        "num_magnitude_bins": (Count, 31), **interpolation("nearest"), **NO_FILL}, pixels=True),
    torchvisions("aug_mix", "a mixture of chains of changes (Hendrycks et al. 2020)", {
        "severity": (Annotated[int, Field(ge=1, le=10)], 3), "mixture_width": (Count, 3), "chain_depth": (int, -1),
        "alpha": (Positive, 1.0), "all_ops": (bool, True), **interpolation("bilinear"), **NO_FILL}, pixels=True),
)  # fmt: skip

MIXED: dict[str, tuple[Any, Any]] = {"alpha": (Positive, 1.0), "p": (Share, 1.0), "num_classes": (Count | None, None)}
"""`num_classes` comes from the training set's targets."""

AUGMENT = (
    *MOVED, *COLOURED,
    ours("noise", "Noise", "with normal noise of deviation `sigma`, whatever the input is", {"sigma": (Rate, 0.1)}),
    ours("mixup", "MixUp",
         "with probability `p` a mean of two samples and of their targets, weighted by Beta(alpha, alpha) (Zhang et al. 2018); "
         "targets become probabilities, as cross_entropy takes them", MIXED),
    ours("cutmix", "CutMix", "as mixup, but a rectangle of the other sample is put in (Yun et al. 2019)", MIXED),
)  # fmt: skip
