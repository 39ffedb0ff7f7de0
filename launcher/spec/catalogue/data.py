"""Built-in data sets."""

from __future__ import annotations

from typing import Literal

from launcher.spec.catalogue.entry import Count, Entry

DIGITS = {"train": 1437, "val": 360, "all": 1797}

DATA = (
    Entry("data", "digits", "launcher.worker.data.digits:digits", "scikit-learn's 1,797 hand-written digits, split 80/20", {
        "split": (Literal["train", "val", "all"], "train"), "size": (Count, 8), "flatten": (bool, False),
        "normalize": (bool, True)},
          needs=("sklearn.datasets", "sklearn.model_selection"), samples=lambda given: DIGITS[given.get("split", "train")]),
    Entry("data", "fake_data", "launcher.worker.data.fake:fake_data", "random inputs and classes, for trying things out", {
        "samples": (Count, 1000), "shape": (list[Count], [3, 32, 32]), "num_classes": (Count, 10), "seed": (int, 0)},
          samples=lambda given: int(given.get("samples", 1000))),
)  # fmt: skip
