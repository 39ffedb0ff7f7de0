"""Early stopping: whether the evaluations have got better of late."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from launcher import events
from launcher.rundir import RunDir
from launcher.spec.early_stopping import EarlyStopping
from launcher.worker.state import TrainState, Waiting, better
from launcher.worker.world import World


def ran_out(run: RunDir, settings: EarlyStopping | None, state: TrainState, row: Mapping[str, Any], world: World) -> bool:
    """After an evaluation: whether this step is the last. A collective; rank 0 decides."""
    if settings is None:
        return False
    state.waiting = world.broadcast(waited(settings, state.waiting, row.get(settings.monitor), state.step))
    if (reason := state.waiting["ended"]) is not None and world.first:
        events.record(run, "early_stop", attempt=world.attempt, step=state.step, monitor=settings.monitor,
                      best=state.waiting["best"], best_step=state.waiting["step"], reason=reason)  # fmt: skip
        print(f"step {state.step}: {reason}", flush=True)
    return state.waiting["ended"] is not None


def waited(settings: EarlyStopping, before: Waiting, value: float | None, step: int) -> Waiting:
    """As in the textbook: better by more than `min_delta` begins anew, all else (NaN as well) is waited through."""
    best, mode = before["best"], settings.best.mode
    if value is not None and better(value, None, mode):
        behind = value + settings.min_delta if mode == "min" else value - settings.min_delta
        if best is None or better(behind, best, mode):
            return Waiting(best=value, step=step, evaluations=0, ended=None)
    evaluations = before["evaluations"] + 1
    if evaluations < settings.patience:
        return Waiting(best=best, step=before["step"], evaluations=evaluations, ended=None)
    best_so_far = "no value" if best is None else f"{best:.6g}, at step {before['step']}"
    often = "once" if evaluations == 1 else f"{evaluations} times"
    ended = f"stopped early: {settings.monitor} was evaluated {often} since its best ({best_so_far}) and did not get better"
    return Waiting(best=best, step=before["step"], evaluations=evaluations, ended=ended)
