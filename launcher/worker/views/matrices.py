"""plots/: a picture for each confusion matrix, beside its counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from launcher.worker.views.curves import PALE, save

MOST_NUMBERS = 20
"""Classes up to which each count is written into its cell."""
OF_LABELS = ("rightly no", "wrongly yes", "wrongly no", "rightly yes")


def draw(folder: Path, run_id: str) -> None:
    for path in folder.glob("*.json"):
        held = json.loads(path.read_text())
        if held.get("counts"):
            draw_one(held, path, run_id)


def draw_one(held: dict[str, Any], path: Path, run_id: str) -> None:
    """Shades are shares of a row: of what a class's samples are taken for."""
    counts = np.asarray(held["counts"], float)
    side = min(12.0, 3.5 + 0.45 * max(counts.shape))
    figure, axes = plt.subplots(figsize=(side + 1, side), layout="constrained")
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="equal" if counts.shape[0] == counts.shape[1] else "auto")
    axes.set_title(f"{path.stem.rpartition('-')[0].replace('_', ' ')}, {held['split']}, step {held['step']}", loc="left",
                   fontweight="bold", fontsize=10)  # fmt: skip
    axes.set_xlabel(f"{held['columns']}\n{run_id}", color=PALE, fontsize=8)
    axes.set_ylabel(held["rows"], color=PALE, fontsize=8)
    name_classes(axes, held.get("classes"), counts.shape)
    if max(counts.shape) <= MOST_NUMBERS:
        write_counts(axes, counts, shares)
    save(figure, path.with_suffix(".png"))


def name_classes(axes: Axes, names: list[str] | None, shape: tuple[int, ...]) -> None:
    rows = names or list(map(str, range(shape[0])))
    columns = rows if shape[0] == shape[1] else list(OF_LABELS)
    if max(shape) <= MOST_NUMBERS:
        axes.set_xticks(range(shape[1]), columns, rotation=45 if any(len(name) > 2 for name in columns) else 0)
        axes.set_yticks(range(shape[0]), rows)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def write_counts(axes: Axes, counts: NDArray[np.float64], shares: NDArray[np.float64]) -> None:
    for (row, column), count in np.ndenumerate(counts):
        if count:
            dark = shares[row, column] > 0.5
            axes.text(column, row, f"{count:.0f}", ha="center", va="center", fontsize=8, color="white" if dark else "black")
