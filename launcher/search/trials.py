"""A sweep's directory: its trials, each a run directory (with folds one for each fold), what they came to, and the best."""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from launcher.events import ledger
from launcher.load import dump_job, load_job, parse_job
from launcher.rundir import RunDir, json_lines, write_atomic
from launcher.search.space import Parameters
from launcher.search.study import End
from launcher.spec import Job
from launcher.spec.monitor import logged_keys
from launcher.spec.sweep import Sweep

RESULTS = "results.csv"
BEST = "best.yaml"
FOLD = "launcher.worker.data.folds:fold"
State = Literal["running", "done", "pruned", "failed", "stopped"]
PRUNED = "pruned"
"""Event in the ledger of a trial that was ended early."""


@dataclass
class Trial:
    number: int
    drawn: dict[str, Any]
    """As Optuna has it."""
    parameters: Parameters
    runs: list[RunDir]
    """Itself, or one for each fold."""
    state: State = "running"
    value: float | None = None
    spread: float | None = None
    """Standard deviation over the folds."""
    reason: str | None = None
    left: list[int] = field(default_factory=list)
    """Indices of `runs` that have not ended."""

    @property
    def end(self) -> End:
        """As the search is told. One that somebody stopped tells nothing about its parameters."""
        return "failed" if self.state == "stopped" or self.state == "running" else self.state


def base_of(job: Job) -> Job:
    """The job that a sweep is about."""
    return job.model_copy(update={"sweep": None})


def with_parameters(job: Job, parameters: Parameters) -> Job:
    """Raises SpecError where values that are right one by one do not go together."""
    overrides = [f"{path}={json.dumps(value)}" for path, value in parameters.items()]
    return base_of(parse_job(dump_job(of_one_trial(job)), "job.yaml", overrides=overrides))


def of_one_trial(job: Job) -> Job:
    """As it is to be checked: folds give it something to evaluate on, though the job itself may have nothing."""
    if job.sweep is None or job.sweep.folds is None:
        return base_of(job)
    return job.model_copy(update={"sweep": job.sweep.model_copy(update={"parameters": {}})})


def trial_job(job: Job, parameters: Parameters, *, group: str, fold: int | None) -> Job:
    """A trial's own job: the same seed, in one W&B group with the others; with folds on one part of the training set."""
    assert job.sweep is not None
    made = with_parameters(job, parameters)
    if made.log.wandb is not None and made.log.wandb.group is None:
        named = made.log.wandb.model_copy(update={"group": group})
        made = made.model_copy(update={"log": made.log.model_copy(update={"wandb": named})})
    return made if fold is None else on_fold(made, fold, job.sweep.folds or 0)


def as_begun(run: RunDir, job: Job) -> Job:
    """A trial that goes on keeps what `auto` came to when it began, as any run that is resumed; on other nodes threads alone."""
    if not run.job.exists():
        return job
    begun, wants = load_job(run.job).resources, job.resources
    same = all(getattr(begun, name) == getattr(wants, name) for name in ("nodes", "backend", "device"))
    names = [name for name in ("threads", *(("procs_per_node",) if same else ())) if getattr(wants, name) == "auto"]
    kept = {name: getattr(begun, name) for name in names}
    return job.model_copy(update={"resources": wants.model_copy(update=kept)})


def on_fold(job: Job, fold: int, folds: int) -> Job:
    assert job.train is not None
    data = job.train.data
    whole = data.train.model_dump()
    parts = {
        split: type(data.train).model_validate({"target": FOLD, "of": whole, "fold": fold, "folds": folds, "split": split})
        for split in ("train", "val")
    }
    return job.model_copy(update={"train": job.train.model_copy(update={"data": data.model_copy(update=parts)})})


def last_value(run: RunDir, metric: str) -> float | None:
    """The metric at the run's last evaluation; None where it was never logged, or was not finite then (null in the file)."""
    logged = [row[metric] for row in json_lines(run.metrics) if isinstance(row, dict) and metric in row]
    return float(logged[-1]) if logged and isinstance(logged[-1], int | float) else None


def evaluations(run: RunDir, metric: str) -> Iterator[tuple[int, float]]:
    for row in json_lines(run.metrics):
        if isinstance(row, dict) and isinstance(row.get(metric), int | float):
            yield int(row["step"]), float(row[metric])


def pruned(run: RunDir) -> str | None:
    """Why it was ended early, if it was."""
    return next((entry["reason"] for entry in ledger(run) if entry["event"] == PRUNED), None)


def concluded(trial: Trial, sweep: Sweep) -> None:
    """Its value, from what its runs logged; a finished one without a value has failed."""
    values = [last_value(run, sweep.metric) for run in trial.runs]
    known = [value for value in values if value is not None and math.isfinite(value)]
    if trial.state in ("done", "pruned") and len(known) == len(trial.runs):
        trial.value = statistics.fmean(known)
        trial.spread = statistics.pstdev(known) if sweep.folds else None
    elif trial.state == "done":
        trial.state, trial.reason = "failed", f"{sweep.metric} was never logged, or is not finite at the last evaluation"


def best(trials: Mapping[int, Trial], sweep: Sweep) -> Trial | None:
    """Of those that ran to their end; of equals the first."""
    done = [trial for _, trial in sorted(trials.items()) if trial.state == "done" and trial.value is not None]
    sign = 1 if sweep.goal == "minimize" else -1
    return min(done, key=lambda trial: sign * (trial.value or 0.0), default=None)


def write_results(run: RunDir, sweep: Sweep, trials: Mapping[int, Trial]) -> None:
    write_atomic(run.path / RESULTS, results_text(sweep, trials))


def results_text(sweep: Sweep, trials: Mapping[int, Trial]) -> str:
    """results.csv (CONTRACTS: JSON): `trial, state, value`, a column for each parameter, and with folds `spread`."""
    paths = list(sweep.parameters)
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["trial", "state", "value", *paths, *(["spread"] if sweep.folds else [])])
    for number, trial in sorted(trials.items()):
        if trial.state != "running":
            spread = [shown(trial.spread)] if sweep.folds else []
            rows.writerow([number, trial.state, shown(trial.value), *(shown(trial.parameters[path]) for path in paths), *spread])
    return text.getvalue()


def shown(value: Any) -> str:
    """Numbers so that they read back the same, lists and mappings as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def write_best(run: RunDir, job: Job, trial: Trial) -> None:
    """best.yaml: the job with the best parameters, on all the data; ranks and threads as the trial had them."""
    own = parse_job(trial.runs[0].job.read_text(), str(trial.runs[0].job))
    pinned = with_parameters(job, trial.parameters).model_copy(update={"resources": own.resources})
    write_atomic(run.path / BEST, dump_job(on_all_data(pinned)))


def on_all_data(job: Job) -> Job:
    """Where folds alone gave it something to evaluate on, there is no best checkpoint to keep by that."""
    best, keys = job.checkpoint.keep_best, logged_keys(job.train)
    if best is None or not keys or best.monitor in keys:
        return job
    return job.model_copy(update={"checkpoint": job.checkpoint.model_copy(update={"keep_best": None})})


def copied(path: Path, to: Path) -> None:
    """What a sweep's runs share is kept with each: a trial can be copied or moved by itself."""
    if path.exists() and not to.exists():
        write_atomic(to, path.read_bytes(), durable=False)


def write_parameters(folder: Path, trial: Trial) -> None:
    """best.yaml of a search over a function: its arguments."""
    write_atomic(folder / BEST, "".join(f"{name}: {json.dumps(value)}\n" for name, value in trial.parameters.items()))
