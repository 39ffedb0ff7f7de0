"""When to stop and when the clock asks for a checkpoint: agreed by all ranks at a step boundary, at no cost per step.

Asking is a collective, so it is done about twice a second; rank 0 measures the steps and says with each answer how many there are
until the next question.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from launcher import rank
from launcher.worker.world import World

ASK_EVERY_S = 0.5
MOST_STEPS = 32
"""Until the next question: steps may become slower."""
FASTEST_GROWTH = 4
"""Of the number of steps between two questions: one quick step does not mean that the next are."""

_signalled = False


@contextmanager
def signals_heeded() -> Iterator[None]:
    """SIGTERM and SIGINT ask for a stop at the next step boundary; a second SIGINT ends at once.

    This is for plain python and torchrun: launcher's agent asks through its channel.
    """
    global _signalled
    _signalled = False
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    earlier = {each: signal.signal(each, heed) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for each, handler in earlier.items():
            signal.signal(each, handler)


def heed(number: int, _frame: FrameType | None) -> None:
    global _signalled
    _signalled = True
    if number == signal.SIGINT:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def asked_to_stop() -> bool:
    return _signalled or rank.should_stop()


@dataclass(frozen=True)
class Answer:
    stop: bool = False
    save: bool = False


NOTHING = Answer()


@dataclass
class Control:
    world: World
    save_every_s: float | None = None
    """Where checkpoints go by the clock."""
    next_step: int = 0
    asked_at_step: int = 0
    asked_at: float = field(default_factory=time.monotonic)
    saved_at: float = field(default_factory=time.monotonic)

    def after(self, step: int) -> Answer:
        """What all ranks do after a step. A collective on some steps, the same on all ranks."""
        if step < self.next_step:
            return NOTHING
        late = self.save_every_s is not None and time.monotonic() - self.saved_at >= self.save_every_s
        told = [float(late), float(self.steps_until_next(step))] if self.world.first else [0.0, 0.0]
        stop, save, ahead = self.world.sum([float(asked_to_stop()), *told])
        self.asked_at, self.asked_at_step, self.next_step = time.monotonic(), step, step + int(ahead)
        return Answer(stop=stop > 0, save=save > 0)

    def steps_until_next(self, step: int) -> int:
        taken = step - self.asked_at_step
        if self.world.world_size == 1 or taken <= 0:
            return 1
        seconds_per_step = max(1e-6, (time.monotonic() - self.asked_at) / taken)
        return max(1, min(int(ASK_EVERY_S / seconds_per_step), FASTEST_GROWTH * taken, MOST_STEPS))

    def saved(self) -> None:
        self.saved_at = time.monotonic()
