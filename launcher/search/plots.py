"""Pictures of a sweep, drawn by Optuna from its journal; in a process of its own, for matplotlib is slow to import."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from launcher.rundir import aside_of

PLOTS = ("optimization_history", "parallel_coordinate", "param_importances", "slice")
MAY_TAKE_S = 60.0
MAIN = "from launcher.search.plots import main; main()"


def draw_all(journal: Path, name: str, metric: str, to: Path) -> None:
    """PNG files; what cannot be drawn of so few trials is left out."""
    with suppress(subprocess.TimeoutExpired):
        subprocess.run(
            [sys.executable, "-P", "-c", MAIN, str(journal), name, metric, str(to)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=MAY_TAKE_S, check=False,
        )  # fmt: skip


def main() -> None:
    import warnings

    import matplotlib

    matplotlib.use("Agg")
    warnings.simplefilter("ignore")
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    journal, name, metric, to = sys.argv[1:]
    study = optuna.load_study(study_name=name, storage=JournalStorage(JournalFileBackend(journal)))
    folder = Path(to)
    folder.mkdir(parents=True, exist_ok=True)
    for plot in PLOTS:
        with suppress(ValueError, RuntimeError, ZeroDivisionError):  # too few trials, or all of them equal
            draw(study, plot, metric, folder / f"{plot}.png")


def draw(study: object, plot: str, metric: str, path: Path) -> None:
    import matplotlib.pyplot as plt
    from optuna.visualization import matplotlib as drawing

    axes = getattr(drawing, f"plot_{plot}")(study, target_name=metric)
    figure = (axes.flat[0] if hasattr(axes, "flat") else axes).figure
    figure.set_size_inches(4 * axes.size if hasattr(axes, "size") else 8, 5)
    for each in figure.axes if plot == "slice" else ():  # labels between powers of ten would lie on each other
        each.tick_params(axis="x", which="both", labelsize=7, labelrotation=45)
    aside = aside_of(path)
    figure.savefig(aside, dpi=110, bbox_inches="tight", format="png")
    aside.replace(path)
    plt.close(figure)
