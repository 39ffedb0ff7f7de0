"""plots/: a picture for each quantity, its training, validation and test values in one frame."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from launcher.rundir import aside_of
from launcher.worker.views.follow import Row

COLORS = {"train": "#4269d0", "val": "#ff725c", "test": "#3ca951"}
LAYERS = {
    "grad": "gradient norm by layer",
    "weight": "weight norm by layer",
    "update": "update's share of the weights by layer",
    "dead": "share of dead units by layer",
}
"""Kinds of keys of which a picture has every layer's curve."""
TITLES = {"lr": "learning rate", "grad_norm": "gradient norm", **LAYERS}
MOST_NAMED = 12
"""Layers in a legend."""
PALE = "#777777"
MOST_POINTS = 4000
FEW_POINTS = 60


def draw(rows: list[Row], folder: Path, run_id: str) -> None:
    """Writes one PNG for each quantity, each atomically."""
    folder.mkdir(exist_ok=True)
    for quantity, keys in quantities(rows).items():
        figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
        for number, key in enumerate(keys):
            color = of_layer(number, len(keys)) if quantity in LAYERS else COLORS.get(key.split("/", 1)[0], COLORS["train"])
            plot(axes, [(row["step"], row[key]) for row in rows if row.get(key) is not None], key, color)
        dress(axes, quantity, keys, run_id)
        mark_epochs(axes, rows)
        save(figure, folder / f"{file_name(quantity)}.png")


def save(figure: Figure, path: Path) -> None:
    aside = aside_of(path)
    figure.savefig(aside, dpi=120, format="png")
    plt.close(figure)
    aside.replace(path)


def quantities(rows: list[Row]) -> dict[str, list[str]]:
    """Keys by what they measure: train/loss and val/loss are both `loss`, grad/0 and grad/2 are both `grad`."""
    found: dict[str, list[str]] = defaultdict(list)
    for key in dict.fromkeys(key for row in rows for key, value in row.items() if value is not None):
        if key not in ("step", "epoch"):
            kind, _, rest = key.partition("/")
            measure = rest or kind
            found[kind if kind in LAYERS else measure].append(key)
    return found


def file_name(quantity: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in quantity)


def of_layer(number: int, layers: int) -> Any:
    """From the first layer to the last."""
    return mpl.colormaps["viridis"](0.9 * number / max(1, layers - 1))


def plot(axes: Axes, points: list[tuple[int, float]], key: str, color: Any) -> None:
    steps, heights = zip(*[*points[: -1 : len(points) // MOST_POINTS + 1], points[-1]], strict=True)
    marker = "o" if len(points) <= FEW_POINTS and not key.startswith("train/") and "/" in key else ""
    axes.plot(steps, heights, color=color, linewidth=1.6, marker=marker, markersize=4, label=f"{key}  {heights[-1]:.4g}")


def dress(axes: Axes, quantity: str, keys: list[str], run_id: str) -> None:
    axes.set_title(TITLES.get(quantity, quantity.replace("_", " ")), loc="left", fontweight="bold")
    axes.set_title(run_id, loc="right", fontsize=8, color=PALE)
    axes.set_xlabel("step", labelpad=1)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.01)
    if quantity in LAYERS:
        if quantity != "dead":
            axes.set_yscale("log", nonpositive="mask")
        named = axes.get_lines()[:: -(-len(keys) // MOST_NAMED)]
        axes.legend(handles=named, frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    elif len(keys) > 1 or "/" in keys[0]:
        axes.legend(frameon=False)


def mark_epochs(axes: Axes, rows: list[Row]) -> None:
    """A second scale under the steps, where the last row knows its epoch."""
    step, epoch = rows[-1]["step"], rows[-1].get("epoch")
    if not step or not epoch:
        return
    functions = (lambda steps: steps * epoch / step, lambda epochs: epochs * step / epoch)
    scale: Any = axes.secondary_xaxis(-0.14, functions=functions)
    scale.xaxis.set_major_locator(MaxNLocator(integer=True))
    scale.set_xlabel("epoch", color=PALE)
    scale.tick_params(colors=PALE, length=2)
    scale.spines["bottom"].set_visible(False)
