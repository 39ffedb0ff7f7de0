"""Pictures in folders and torchvision's data sets, as tensors of one size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
import torchvision
from torchvision.transforms import v2

CLASSES = {
    "mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST", "qmnist": "QMNIST", "emnist": "EMNIST", "usps": "USPS",
    "cifar10": "CIFAR10", "cifar100": "CIFAR100", "svhn": "SVHN", "stl10": "STL10", "gtsrb": "GTSRB", "dtd": "DTD",
    "flowers102": "Flowers102", "food101": "Food101", "oxford_iiit_pet": "OxfordIIITPet", "fgvc_aircraft": "FGVCAircraft",
    "eurosat": "EuroSAT", "pcam": "PCAM", "imagenet": "ImageNet",
}  # fmt: skip


def image_folder(*, root: str, **shown: Any) -> Any:
    """A folder for each class, in alphabetical order."""
    return Folders(root, transform=as_tensor(**shown))


class Folders(torchvision.datasets.ImageFolder):  # type: ignore[misc]  # torchvision has no types
    """torchvision's own, whose classes can take the numbers that they have in another folder (see alike.py)."""

    classes: list[str]
    samples: list[tuple[str, int]]

    @property
    def names(self) -> Sequence[str]:
        return self.classes

    def renumbered(self, known: Sequence[str]) -> Self:
        """With the numbers of these names."""
        number = {name: at for at, name in enumerate(known)}
        self.samples = self.imgs = [(path, number[self.classes[own]]) for path, own in self.samples]
        self.targets = [at for _, at in self.samples]
        self.classes, self.class_to_idx = list(known), number
        return self


def from_torchvision(
    *, name: str, root: str, size: int | list[int] | None = None, grayscale: bool = False,
    mean: Sequence[float] | None = None, std: Sequence[float] | None = None, **own: Any,
) -> Any:  # fmt: skip
    """Raises FileNotFoundError where it has not been downloaded."""
    transform = as_tensor(size=size, grayscale=grayscale, mean=mean, std=std)
    try:
        return getattr(torchvision.datasets, CLASSES[name])(root, transform=transform, **own)
    except RuntimeError as error:
        if "not found" in str(error) or "download" in str(error):
            raise FileNotFoundError(f"nothing of it in {root}: {error} (here: download: true)") from error
        raise


def as_tensor(
    *, size: int | list[int] | None = None, grayscale: bool = False, mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> v2.Transform:  # fmt: skip
    """(channels, height, width) in float32 from 0 to 1, then less `mean`, by `std`; `size`: a side, or height and width."""
    if (mean is None) != (std is None):
        raise ValueError("mean and std go together: one number for each channel")
    steps: list[Any] = [v2.ToImage()]
    steps += [] if size is None else [v2.Resize([size, size] if isinstance(size, int) else size, antialias=True)]
    steps += [v2.Grayscale()] if grayscale else []
    steps += [v2.ToDtype(torch.float32, scale=True)]
    steps += [] if mean is None else [v2.Normalize(mean, std)]
    return v2.Compose([*steps, v2.ToPureTensor()])
