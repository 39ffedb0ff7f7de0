"""Built-in augmentations: torchvision's."""

from __future__ import annotations

from typing import Literal

from launcher.spec.catalogue.entry import REQUIRED, Count, Entry, Share

TRANSFORMS = ("torchvision.transforms.v2",)

AUGMENT = (
    Entry("augment", "random_crop", "torchvision.transforms.v2:RandomCrop", "a random window of the padded image", {
        "size": (Count | list[Count], REQUIRED), "padding": (int | list[int] | None, None), "fill": (float, 0.0),
        "padding_mode": (Literal["constant", "edge", "reflect", "symmetric"], "constant")}, needs=TRANSFORMS),
    Entry("augment", "random_horizontal_flip", "torchvision.transforms.v2:RandomHorizontalFlip",
          "mirrored left to right with probability `p`", {"p": (Share, 0.5)}, needs=TRANSFORMS),
)  # fmt: skip
