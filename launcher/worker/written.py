"""Files for the user: whole, or not there. Outputs have one row for each sample."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from launcher.worker.errors import WorkerError


def refuse_other_endings(out: Path) -> None:
    """Raises WorkerError."""
    if out.suffix not in (".csv", ".npz"):
        raise WorkerError(f"--out {out}: the name's ending says what is written: .csv or .npz", kind="spec")


def refuse_missing_folder(out: Path) -> None:
    """Before anything that takes long. Raises WorkerError."""
    if not out.parent.is_dir():
        raise WorkerError(f"{out} cannot be written: there is no folder {out.parent}", kind="spec")


def write(out: Path, outputs: Tensor, *, classes: Tensor | None, names: Sequence[str] | None) -> None:
    """All of it or nothing. Raises WorkerError."""
    with whole(out) as aside:
        (as_table if out.suffix == ".csv" else as_arrays)(aside, outputs, classes, names)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write a file that takes its name once it is whole; it has the same ending. Raises WorkerError for OSError."""
    aside = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield aside
        aside.replace(path)
    except OSError as error:
        raise WorkerError(f"{path} cannot be written: {error.strerror or error}", kind="environment") from None
    finally:
        aside.unlink(missing_ok=True)


def as_arrays(path: Path, outputs: Tensor, classes: Tensor | None, names: Sequence[str] | None) -> None:
    """`output`, `prediction` where it is of classes, `file` where it is of pictures."""
    arrays = {"output": outputs.float().numpy() if outputs.dtype.itemsize < 4 else outputs.numpy()}
    arrays |= {"prediction": classes.numpy()} if classes is not None else {}
    arrays |= {"file": np.array(names)} if names is not None else {}
    np.savez(path, allow_pickle=False, **arrays)


def as_table(path: Path, outputs: Tensor, classes: Tensor | None, names: Sequence[str] | None) -> None:
    """Numbers with all their digits."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows(outputs.flatten(1) if outputs.ndim > 1 else outputs[:, None], classes, names))


def rows(outputs: Tensor, classes: Tensor | None, names: Sequence[str] | None) -> Iterator[list[Any]]:
    columns = [f"output_{column}" for column in range(outputs.shape[1])] if outputs.shape[1] > 1 else ["output"]
    yield [*(["file"] if names is not None else []), *(["prediction"] if classes is not None else []), *columns]
    for at, row in enumerate(outputs.tolist()):
        yield [*([names[at]] if names is not None else []), *([int(classes[at])] if classes is not None else []), *row]
