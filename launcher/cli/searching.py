"""`launch SPEC --objective MOD:FN`: a line for each trial, and the best of them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.cli.sweep_screen import in_short
from launcher.cli.terminal import GREEN, coloured, labelled, print_json, say, shown_path
from launcher.errors import LaunchError

if TYPE_CHECKING:
    from launcher.search.trials import Trial


def search(spec: str, objective: str, overrides: Sequence[str], *, as_json: bool) -> int:
    """What it finds lies in NAME.search beside the caller; the same command goes on where it was ended. Raises LaunchError."""
    from launcher.load import load_search
    from launcher.search.objective import search_function

    asked = load_search(spec, overrides=overrides)
    folder = Path(f"{asked.name}.search").absolute()
    out = sys.stderr if as_json else sys.stdout
    found: list[Trial] = []

    def told(trial: Trial, better: bool) -> None:
        if better:
            found.append(trial)
        value = f" {trial.value:.6g}" if trial.value is not None else f": {trial.reason}"
        mark = coloured(" the best so far", GREEN, out) if better else ""
        say(f"trial {trial.number} {trial.state}{value}{mark}  {in_short(trial.parameters)}\n", out)

    try:
        search_function(objective, asked.sweep, seed=asked.seed, name=asked.name, folder=folder, told=told)
    except KeyboardInterrupt:
        say("[launch] interrupted: the same command goes on with the trials that are left\n", out)
        raise
    if not found:
        raise LaunchError(f"no trial came to a value: see {folder / 'results.csv'}")
    best = found[-1]
    if as_json:
        print_json({"trial": best.number, "value": best.value, "parameters": best.parameters, "path": str(folder)})
        return 0
    rows = [("best", f"{best.value:.6g} in trial {best.number}: {in_short(best.parameters)}"), ("results", shown_path(folder))]
    print("\n".join(labelled(rows)))
    return 0
