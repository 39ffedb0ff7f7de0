"""Built-in data sets of pictures: folders of one's own, and torchvision's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from launcher.spec.base import Said
from launcher.spec.catalogue.entry import REQUIRED, Arguments, Count, Entry, Rate

VISION = ("torchvision.datasets", "torchvision.transforms.v2")
ROOT: Arguments = {"root": (Annotated[str, Said("a folder", "data/pictures")], REQUIRED)}
DOWNLOAD: Arguments = {"download": (bool, False)}
SHOWN: Arguments = {
    "size": (Count | list[Count] | None, None), "grayscale": (bool, False), "mean": (list[float] | None, None),
    "std": (list[Rate] | None, None),
}  # fmt: skip
TRAIN: Arguments = {"train": (bool, True)}


def split(*names: str, default: str = "train") -> Arguments:
    return {"split": (Literal[names], default)}


def torchvisions(name: str, doc: str, own: Arguments, sizes: Mapping[Any, int] | None = None) -> Entry:
    """`sizes`: samples by split."""
    download: Arguments = {} if name == "imagenet" else DOWNLOAD
    return Entry("data", name, "launcher.worker.data.images:from_torchvision", doc, {**ROOT, **own, **download, **SHOWN},
                 needs=VISION, samples=samples_of(sizes) if sizes else None)  # fmt: skip


def samples_of(sizes: Mapping[Any, int]) -> Callable[[Mapping[str, Any]], int]:
    return lambda given: sizes[given.get("split", given.get("train", True))]


SIXTY = {True: 60_000, False: 10_000}
FIFTY = {True: 50_000, False: 10_000}
TRAIN_VAL_TEST = split("train", "val", "test")
TRAIN_TEST = split("train", "test")

IMAGES = (
    Entry("data", "image_folder", "launcher.worker.data.images:image_folder",
          "pictures in a folder for each class, in float32 from 0 to 1; `size` makes them equally large", {**ROOT, **SHOWN},
          needs=VISION),
    torchvisions("mnist", "hand-written digits, 28 x 28", TRAIN, SIXTY),
    torchvisions("fashion_mnist", "pieces of clothing, 28 x 28, 10 classes", TRAIN, SIXTY),
    torchvisions("kmnist", "hand-written hiragana, 28 x 28, 10 classes", TRAIN, SIXTY),
    torchvisions("qmnist", "hand-written digits, 28 x 28, with the 60,000 of the whole test set", TRAIN),
    torchvisions("emnist", "hand-written letters and digits, 28 x 28", {
        **split("byclass", "bymerge", "balanced", "letters", "digits", "mnist", default="balanced"), **TRAIN}),
    torchvisions("usps", "hand-written digits of the US postal service, 16 x 16", TRAIN, {True: 7_291, False: 2_007}),
    torchvisions("cifar10", "photographs, 32 x 32, 10 classes", TRAIN, FIFTY),
    torchvisions("cifar100", "photographs, 32 x 32, 100 classes", TRAIN, FIFTY),
    torchvisions("svhn", "house numbers, 32 x 32, 10 classes", split("train", "test", "extra"),
                 {"train": 73_257, "test": 26_032, "extra": 531_131}),
    torchvisions("stl10", "photographs, 96 x 96, 10 classes", TRAIN_TEST, {"train": 5_000, "test": 8_000}),
    torchvisions("gtsrb", "German traffic signs, 43 classes", TRAIN_TEST),
    torchvisions("dtd", "textures, 47 classes", TRAIN_VAL_TEST),
    torchvisions("flowers102", "flowers, 102 classes", TRAIN_VAL_TEST),
    torchvisions("food101", "dishes, 101 classes", TRAIN_TEST),
    torchvisions("oxford_iiit_pet", "cats and dogs, 37 breeds", split("trainval", "test", default="trainval")),
    torchvisions("fgvc_aircraft", "aircraft, 100 variants", split("train", "val", "trainval", "test", default="trainval")),
    torchvisions("eurosat", "satellite pictures, 64 x 64, 10 kinds of land use", {}),
    torchvisions("pcam", "tissue with or without tumour, 96 x 96", TRAIN_VAL_TEST),
    torchvisions("imagenet", "ImageNet-1k in the folder where it was put: it cannot be downloaded", split("train", "val")),
)  # fmt: skip
