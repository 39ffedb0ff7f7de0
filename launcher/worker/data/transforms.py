"""torchvision's transforms by the catalogue's names, from arguments as YAML writes them."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import AutoAugmentPolicy, InterpolationMode, v2
from torchvision.transforms.v2 import functional as F  # noqa: N812

from launcher.worker.errors import WorkerError

ENUMS: dict[str, Callable[[str], Any]] = {"interpolation": InterpolationMode, "policy": AutoAugmentPolicy}


def torchvisions(*, name: str, **arguments: Any) -> Callable[[Any], Any]:
    made = {key: ENUMS[key](value) if key in ENUMS else value for key, value in arguments.items()}
    return getattr(v2, camel_case(name))(**made)  # type: ignore[no-any-return]


def camel_case(name: str) -> str:
    return "".join(word[0].upper() + word[1:] for word in name.split("_"))


class of_pixels:  # noqa: N801  # built as a function is
    """A transform that would cut off what is below 0 or above 1, and say nothing."""

    def __init__(self, *, name: str, **arguments: Any) -> None:
        self.name, self.transform = name, Jpeg(**arguments) if name == "jpeg" else torchvisions(name=name, **arguments)

    def __call__(self, image: Tensor) -> Any:
        if image.is_floating_point() and not (float(image.min()) >= -1e-6 and float(image.max()) <= 1 + 1e-6):
            raise WorkerError(
                f"train.data.augment: {self.name} takes pixels from 0 to 1, and these go from {float(image.min()):.3g} to "
                f"{float(image.max()):.3g}. Write normalize: false (or no mean and std) in train.data.train, or put it before "
                "what leads outside",
                kind="spec",
            )
        return self.transform(image)


class Jpeg:
    """Written and read again by Pillow: torchvision is about to lose its own."""

    def __init__(self, *, quality: int | list[int]) -> None:
        self.lowest, self.highest = (quality, quality) if isinstance(quality, int) else quality

    def __call__(self, image: Tensor) -> Tensor:
        quality = int(torch.randint(self.lowest, self.highest + 1, ()))
        file = io.BytesIO()
        F.to_pil_image(image).save(file, "JPEG", quality=quality)
        written: Tensor = F.pil_to_tensor(Image.open(file))
        return written.to(image.dtype) / 255
