"""The training loop: it reads from top to bottom."""

from __future__ import annotations

import math
from dataclasses import dataclass

from launcher import events, rank
from launcher.rundir import RunDir
from launcher.spec import Job
from launcher.spec.values import Duration
from launcher.worker import devices, views
from launcher.worker.build import Training, build
from launcher.worker.cadence import Cadence, cadence
from launcher.worker.checkpoint import Saver
from launcher.worker.control import Control, signals_heeded
from launcher.worker.data.portions import Portion
from launcher.worker.evaluate import evaluate_now, final_test
from launcher.worker.feed import Feed
from launcher.worker.history import History
from launcher.worker.patience import ran_out
from launcher.worker.profile import profiled
from launcher.worker.progress import Progress
from launcher.worker.records import Records
from launcher.worker.restore import restore
from launcher.worker.state import TrainState
from launcher.worker.weights import begin_with
from launcher.worker.world import World

VIEWS_MAY_TAKE_S = 30.0
NEVER = Cadence(steps=math.inf)


def train(run: RunDir, job: Job, world: World) -> int:
    """Trains to the end (0) or until asked to stop (75). Raises WorkerError."""
    training = build(run, job, world)
    devices.keep(run, world)
    state = TrainState(model=training.model, optimizer=training.optimizer, scaler=training.accelerator.scaler, ema=training.ema)
    history, saver = History(run, world), Saver(run, world, job.checkpoint, job=job)
    history.cut(begin(run, training, state, world))
    shown = views.start(run, job, attempt=world.attempt) if world.first else views.Views(None, None)
    progress = Progress(
        printing=world.first, total_steps=training.total_steps, epochs=training.spec.epochs, began_at_step=state.step
    )
    records = Records(run, training, state, history, saver, progress)
    due, feed, begun, stopping = dues(training), Feed(run, training, state), state.step, False
    control = Control(world, save_every_s=due.save_every_s, next_step=state.step, asked_at_step=state.step)

    with signals_heeded():
        while not finished(training, state) and not stopping:
            with profiled(run, training, state.step + 1):
                with records.clock.timed("data_s"):
                    portion = next(feed.portions)
                loss, norm = feed.step(portion)
            advance(state, portion)
            records.step(loss, norm, portion)
            rank.pulse(state.step)
            if state.step == begun + 1:
                first_step_done(run, world, state, saver)

            last, ended = finished(training, state), state.epoch if portion.last else None
            evaluating = "val" in training.loaders and (last or due.evaluate.due(state.step, ended))
            logging = evaluating or last or due.log.due(state.step, ended) or training.layers.step == state.step
            improved = False
            if logging:
                settled, values = records.settle(), {}
                if evaluating:
                    with records.clock.timed("evaluation_s"):
                        values = evaluate_now(training, "val")
                    last |= ran_out(run, training.spec.early_stopping, state, records.measured(settled) | values, world)
                if last and "test" in training.loaders:
                    world.await_first(saver.written)
                    saver.wait()
                    values |= final_test(run, training, records.measured(settled) | values)
                improved = records.row(settled, values)

            answer = control.after(state.step)
            stopping = answer.stop and not last
            if last or stopping or improved or answer.save or due.save.due(state.step, ended):
                if not logging:
                    records.settle()
                with records.clock.timed("checkpoint_s"):
                    records.refuse_broken_weights()
                    history.fsync()
                    saver.save(state, metrics=records.metrics(), rows=history.rows, attempt=world.attempt, block=last or stopping)
                control.saved()

        saver.close()
        if world.first:
            events.record(run, "stopped" if stopping else "trained", attempt=world.attempt, step=state.step)
        progress.ended(state.step, stopping=stopping)
        shown.finish(VIEWS_MAY_TAKE_S)
    return rank.SAVED if stopping else 0


def begin(run: RunDir, training: Training, state: TrainState, world: World) -> int:
    """The state of the newest checkpoint, or, without one, the weights that the job begins with; the rows that stand."""
    rows = restore(run, state, world)
    if rows is None:
        begin_with(training.spec.weights, run, training.model, world)
    return rows or 0


def advance(state: TrainState, portion: Portion) -> None:
    if state.ema is not None:
        state.ema.update()
    state.step += 1
    state.epoch, state.batch = (portion.epoch + 1, 0) if portion.last else (portion.epoch, portion.batch + 1)


def finished(training: Training, state: TrainState) -> bool:
    if state.waiting["ended"] is not None:
        return True
    if training.total_steps is not None:
        return state.step >= training.total_steps
    return state.epoch >= (training.spec.epochs or 0)


def first_step_done(run: RunDir, world: World, state: TrainState, saver: Saver) -> None:
    if world.first:
        events.record(run, "running", attempt=world.attempt, step=state.step)
    saver.prepare(state)


@dataclass(frozen=True, kw_only=True)
class Dues:
    log: Cadence
    evaluate: Cadence
    save: Cadence
    save_every_s: float | None
    """Where checkpoints go by the clock."""


def dues(training: Training) -> Dues:
    """Raises WorkerError for a length that depends on what is not known."""
    known = {"per_epoch": training.per_epoch, "total": training.total_steps}
    job, every = training.job, training.job.checkpoint.every
    return Dues(
        log=cadence(job.log.every, field="log.every", **known),
        evaluate=cadence(training.spec.evaluate_every, field="train.evaluate_every", **known),
        save=NEVER if isinstance(every, Duration) else cadence(every, field="checkpoint.every", **known),
        save_every_s=every.seconds if isinstance(every, Duration) else None,
    )
