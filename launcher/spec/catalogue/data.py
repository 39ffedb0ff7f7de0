"""Built-in data sets that come with a dependency or lie in files; pictures are in images.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from launcher.spec.base import About, Said
from launcher.spec.catalogue.entry import REQUIRED, Arguments, Count, Entry, Rate
from launcher.spec.catalogue.images import IMAGES

SKLEARN = ("sklearn.datasets", "sklearn.model_selection")
SPLIT: Arguments = {"split": (Literal["train", "val", "all"], "train")}
NORMALIZE: Arguments = {"normalize": (bool, True)}
TARGETS_ARE: Arguments = {"targets_are": (Literal["auto", "classes", "numbers"], "auto")}
NAME = Annotated[str, Said("a name", "x")]
COLUMN = Annotated[str, Said("a column's name (its number, from 1 on, without a header)", "species")]
IN_FILE: Arguments = {"split": (Literal["train", "val", "all"], "all"), "normalize": (bool, False), **TARGETS_ARE}
ARRAYS: Arguments = {"inputs": (NAME | None, None), "targets": (NAME | None, None), **IN_FILE}
SIZES = {
    "digits": (1437, 360), "iris": (120, 30), "wine": (142, 36), "breast_cancer": (455, 114), "diabetes": (353, 89),
}  # fmt: skip
"""Samples for training and for validation of what comes with scikit-learn."""


def samples_of(name: str) -> Callable[[Mapping[str, Any]], int]:
    train, val = SIZES[name]
    return lambda given: {"train": train, "val": val, "all": train + val}[given.get("split", "train")]


DIGITS_OF_CLASS = {
    "train": (142, 146, 142, 146, 145, 145, 145, 143, 139, 144), "val": (36, 36, 35, 37, 36, 37, 36, 36, 35, 36),
}  # fmt: skip
Digit = Annotated[int, Field(ge=0, le=9)]


def digits(given: Mapping[str, Any]) -> int:
    """The number of samples."""
    split, chosen = given.get("split", "train"), set(given.get("classes") or range(10))
    parts = [sizes for part, sizes in DIGITS_OF_CLASS.items() if split in (part, "all")]
    if split != "train":
        return sum(sizes[digit] for sizes in parts for digit in chosen)
    rarer, most = given.get("imbalance") or 1, given.get("per_class") or SIZES["digits"][0]
    return sum(min(most, -(-parts[0][digit] // (rarer if digit >= 5 else 1))) for digit in chosen)


def table(name: str, doc: str) -> Entry:
    return Entry("data", name, "launcher.worker.data.tables:table", f"scikit-learn's {doc}, split 80/20 by class",
                 {**SPLIT, **NORMALIZE, **TARGETS_ARE}, needs=SKLEARN, samples=samples_of(name))  # fmt: skip


DATA = (
    Entry("data", "digits", "launcher.worker.data.digits:digits", "scikit-learn's 1,797 hand-written digits, split 80/20", {
        **SPLIT, "size": (Count, 8), "flatten": (bool, False), **NORMALIZE, "classes": (list[Digit] | None, None),
        "imbalance": (Annotated[Count, About("in the training part classes 5 to 9 keep one sample in so many")] | None, None),
        "per_class": (Annotated[Count, About("the training part keeps at most so many samples of each class")] | None, None)},
          needs=SKLEARN, samples=digits),
    table("iris", "150 flowers, 4 features, 3 classes"),
    table("wine", "178 wines, 13 features, 3 classes"),
    table("breast_cancer", "569 tumours, 30 features, 2 classes"),
    Entry("data", "diabetes", "launcher.worker.data.tables:diabetes",
          "scikit-learn's 442 patients, 10 features, the disease's progression as a number, split 80/20",
          {**SPLIT, **NORMALIZE, "normalize_target": (bool, False)}, needs=SKLEARN, samples=samples_of("diabetes")),
    Entry("data", "glyphs", "launcher.worker.data.glyphs:Glyphs",
          "rows of hand-written digits, read column by column: sequences of differing lengths for the loss ctc", {
              "samples": (Count, 1000), **SPLIT, "shortest": (Count, 2), "longest": (Count, 6), "seed": (int, 0)},
          needs=SKLEARN, samples=lambda given: int(given.get("samples", 1000))),
    Entry("data", "fake_data", "launcher.worker.data.fake:fake_data", "random inputs and classes, for trying things out", {
        "samples": (Count, 1000), "shape": (list[Count], [3, 32, 32]), "num_classes": (Count, 10), "seed": (int, 0)},
          samples=lambda given: int(given.get("samples", 1000))),
    Entry("data", "waves", "launcher.worker.data.waves:Waves",
          "noisy waves of 4 shapes, each of its own length: sequences (T, 1) and classes, made on the spot; for collate: pad", {
              "split": (Literal["train", "val"], "train"), "samples": (Count, 1000),
              "steps": (Annotated[list[Count], Field(min_length=2, max_length=2)], [20, 60]), "noise": (Rate, 0.3),
              "seed": (int, 0)},
          samples=lambda given: int(given.get("samples", 1000))),
    Entry("data", "npz", "launcher.worker.data.files:arrays",
          "arrays of a .npz file: those named, else input, image or x, and target, targets, label, labels or y", {
              "path": (Annotated[str, Said("the path of a .npz file", "data/train.npz")], REQUIRED), **ARRAYS}),
    Entry("data", "tensor_dataset", "launcher.worker.data.files:arrays",
          "tensors of a .safetensors or .npz file (as torch's TensorDataset), named as with npz", {
              "path": (Annotated[str, Said("the path of a .safetensors or .npz file", "data/train.safetensors")], REQUIRED),
              **ARRAYS}),
    Entry("data", "csv", "launcher.worker.data.files:csv",
          "a table of numbers; the target is the last column or the one named: integers and names are classes (names numbered in "
          "alphabetical order), other numbers are numbers", {
              "path": (Annotated[str, Said("the path of a csv file", "data/train.csv")], REQUIRED),
              "inputs": (list[COLUMN] | None, None), "targets": (COLUMN | None, None), "header": (bool, True),
              "delimiter": (str, ","), **IN_FILE}),
    *IMAGES,
)  # fmt: skip
