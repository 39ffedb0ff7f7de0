"""Arrays and tables in files: npz, safetensors, csv. None of them executes code."""

from __future__ import annotations

import csv as reading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from launcher.worker.data.arrays import Prepared, dataset
from launcher.worker.data.augment import INPUT_KEYS
from launcher.worker.losses import TARGET_KEYS

Row = tuple[int, list[str]]
"""A line's number in its file, and its values."""


def arrays(
    *, path: str, inputs: str | None = None, targets: str | None = None, split: str = "all", normalize: bool = False,
    targets_are: str = "auto",
) -> Prepared:  # fmt: skip
    """Of a .npz or .safetensors file: the arrays of these names, else of the names that are usual."""
    stored = opened(path)
    both = named(stored, inputs, INPUT_KEYS, "inputs"), named(stored, targets, TARGET_KEYS, "targets")
    return dataset(*both, split=split, normalize=normalize, targets_are=targets_are)


def opened(path: str) -> dict[str, np.ndarray]:
    """Raises ValueError for a file of another kind, or one that would execute code."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}")
    if path.endswith(".safetensors"):
        from safetensors.torch import load_file

        return {name: tensor.numpy() for name, tensor in load_file(path).items()}
    try:
        with np.load(path, allow_pickle=False) as stored:
            return dict(stored)
    except (ValueError, OSError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no .npz or .safetensors file of plain arrays: {error}") from error


def named(stored: dict[str, np.ndarray], name: str | None, usual: Sequence[str], argument: str) -> np.ndarray:
    found = name or next((each for each in usual if each in stored), None)
    if found in stored:
        return stored[found]
    there = ", ".join(stored) or "nothing"
    raise ValueError(f"no array is called {name or ', '.join(usual)}. There is: {there}. Write {argument}: NAME")


def csv(
    *, path: str, targets: str | None = None, inputs: list[str] | None = None, header: bool = True, delimiter: str = ",",
    split: str = "all", normalize: bool = False, targets_are: str = "auto",
) -> Prepared:  # fmt: skip
    """Inputs (columns) in float32; the target is the last column, or the one of that name.

    Raises ValueError with file:line for a value that is no number, or a line with more or fewer values than the first.
    """
    names, rows = parsed(path, header=header, delimiter=delimiter)
    wanted = place(names, targets, path) if targets is not None else len(names) - 1
    columns = [place(names, name, path) for name in inputs] if inputs else [at for at in range(len(names)) if at != wanted]
    numbers = np.array([[number(path, row, names, at) for at in columns] for row in rows], np.float32)
    return dataset(numbers, target_column(path, rows, names, wanted), split=split, normalize=normalize, targets_are=targets_are)


def parsed(path: str, *, header: bool, delimiter: str) -> tuple[list[str], list[Row]]:
    """The columns' names (their numbers from 1 on without a header) and the lines that are not empty."""
    with Path(path).open(newline="", encoding="utf-8-sig") as file:
        lines = list(numbered(reading.reader(file, delimiter=delimiter)))
    if not lines or (header and len(lines) == 1):
        raise ValueError(f"{path} has no rows")
    names = lines.pop(0)[1] if header else [str(at + 1) for at in range(len(lines[0][1]))]
    if header and all(map(is_number, names)):
        raise ValueError(f"{path}:1 holds numbers where the columns' names are expected. Write header: false")
    for line, values in lines:
        if len(values) != len(names):
            raise ValueError(f"{path}:{line} has {len(values)} values, and there are {len(names)} columns")
    return names, lines


def numbered(reader: Any) -> Iterator[Row]:
    for values in reader:
        if values:
            yield reader.line_num, [value.strip() for value in values]


def place(names: list[str], name: str, path: str) -> int:
    if name not in names:
        raise ValueError(f"{path} has no column '{name}'. There is: {', '.join(names)}")
    return names.index(name)


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def number(path: str, row: Row, names: list[str], at: int) -> float:
    line, values = row
    if not is_number(values[at]):
        said = f"'{values[at]}'" if values[at] else "nothing"
        raise ValueError(f"{path}:{line}: column {names[at]} is {said}, not a number")
    return float(values[at])


def target_column(path: str, rows: list[Row], names: list[str], at: int) -> np.ndarray:
    """Integers where all are, else numbers, else names. Raises ValueError where one is missing."""
    texts = [values[at] for _, values in rows]
    for (line, _), text in zip(rows, texts, strict=True):
        if not text:
            raise ValueError(f"{path}:{line}: column {names[at]}, the target, is empty")
    if all(text.lstrip("+-").isdecimal() for text in texts):
        return np.array(texts).astype(np.int64)
    numeric = sum(map(is_number, texts))
    if 0 < numeric < len(texts):
        odd = next(row for row, text in zip(rows, texts, strict=True) if is_number(text) != (numeric * 2 > len(texts)))
        raise ValueError(
            f"{path}:{odd[0]}: column {names[at]}, the target, is '{odd[1][at]}': {numeric} of {len(texts)} are numbers, "
            "the others names"
        )
    return np.array(texts).astype(np.float64) if numeric else np.array(texts)
