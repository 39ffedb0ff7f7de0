"""Data without targets, prepared as the job's own: a file of arrays or a table, or a folder of pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset, TensorDataset

from launcher.spec.target import Target
from launcher.spec.train import Train
from launcher.worker.data.arrays import Prepared, as_inputs
from launcher.worker.data.augment import INPUT_KEYS
from launcher.worker.data.files import is_number, named, number, opened, parsed, place
from launcher.worker.errors import WorkerError
from launcher.worker.targets import built, builtin

ARRAYS = ("npz", "tensor_dataset")
PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif"}
FOLD = "launcher.worker.data.folds:fold"
SHOWN = ("size", "grayscale", "mean", "std")


@dataclass(frozen=True)
class New:
    dataset: Any
    names: Sequence[str] | None = None
    """Of the files, where each sample is one."""


def new_data(spec: Train, data: str, names: tuple[str, ...]) -> New:
    """`names`: of the model's arguments. Raises WorkerError."""
    path = Path(data)
    try:
        if path.is_dir():
            return pictures(spec, path)
        if path.suffix in (".npz", ".safetensors"):
            return New(of_arrays(spec, data, names))
        if path.suffix == ".csv":
            return New(TensorDataset(fitted(spec, as_inputs(table(spec, data)))))
    except (ValueError, OSError) as error:
        raise WorkerError(f"DATA: {error}", kind="spec") from error
    raise WorkerError(
        f"DATA: {data} is none of train, val and test, no .csv, .npz or .safetensors file, and no folder of pictures", kind="spec"
    )


def of_arrays(spec: Train, path: str, names: tuple[str, ...]) -> Any:
    """All arguments of the model where it takes several; else the job's array, or the usual one, or the only one."""
    stored = opened(path)
    if len(names) > 1 and all(name in stored for name in names):
        return Mappings({name: as_inputs(stored[name]) for name in names})
    target = of_fold(spec.data.train)
    own = target.arguments.get("inputs") if builtin("data", target) and target.target in ARRAYS else None
    found = next(iter(stored.values())) if own is None and len(stored) == 1 else named(stored, own, INPUT_KEYS, "inputs")
    return TensorDataset(fitted(spec, as_inputs(found)))


class Mappings(Dataset[Any]):
    def __init__(self, columns: dict[str, Tensor]) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return min(map(len, self.columns.values()))

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {name: column[index] for name, column in self.columns.items()}


def table(spec: Train, path: str) -> np.ndarray:
    """The columns that the job's own table has as inputs; all of them where its data are none."""
    target = of_fold(spec.data.train)
    own = target.arguments if builtin("data", target) and target.target == "csv" else None
    delimiter = str(own["delimiter"]) if own else ","
    with Path(path).open(newline="", encoding="utf-8-sig") as file:
        header = not all(map(is_number, file.readline().strip().split(delimiter)))
    names, rows = parsed(path, header=header, delimiter=delimiter)
    wanted = inputs_of(own) if own and header else names
    return np.array(
        [[number(path, row, names, at) for at in (place(names, name, path) for name in wanted)] for row in rows], np.float32
    )


def inputs_of(own: dict[str, Any]) -> list[str]:
    if own.get("inputs"):
        return list(own["inputs"])
    names, _ = parsed(own["path"], header=own["header"], delimiter=own["delimiter"])
    targets = own.get("targets") or names[-1]
    return [name for name in names if name != targets]


def fitted(spec: Train, inputs: Tensor) -> Tensor:
    """Normalised as the training data were: by their mean and deviation, not by its own. Raises ValueError for another shape."""
    own = of_fold(spec.data.train)
    if not builtin("data", own) or own.target == "digits" or not own.arguments.get("normalize"):  # which are constants
        return inputs
    train = built("data", spec.data.train, "train.data.train")
    whole = train.dataset if type(train) is Subset else train
    statistics = whole.statistics if isinstance(whole, Prepared) else None
    if statistics is None:
        return inputs
    if inputs.shape[1:] != statistics.mean.shape:
        raise ValueError(
            f"a sample has the shape {list(inputs.shape[1:])}, and one of the training data {list(statistics.mean.shape)}"
        )
    return statistics.normalized(inputs)


def of_fold(target: Target) -> Target:
    """The data set that a fold is a part of."""
    return Target.model_validate(target.arguments["of"]) if target.target == FOLD else target


def pictures(spec: Train, folder: Path) -> New:
    """All below a folder, by path, shown as the job's own pictures are."""
    from launcher.worker.data.images import as_tensor

    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES)
    if not files:
        raise ValueError(f"there are no pictures in {folder} (of {', '.join(sorted(PICTURES))})")
    shown = {name: value for name, value in of_fold(spec.data.train).arguments.items() if name in SHOWN}
    return New(Pictures(files, as_tensor(**shown)), [str(path.relative_to(folder)) for path in files])


class Pictures(Dataset[Any]):
    def __init__(self, files: list[Path], transform: Callable[[Any], Tensor]) -> None:
        self.files, self.transform = files, transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor]:
        from PIL import Image

        with Image.open(self.files[index]) as picture:
            return (self.transform(picture.convert("RGB")),)
