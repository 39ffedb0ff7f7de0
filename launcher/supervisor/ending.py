"""That a run is to end before it is done: by whose wish, how, and what that comes to."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Literal

from launcher import checkpoints
from launcher.events import record
from launcher.plan import Plan
from launcher.rundir import RunDir
from launcher.spec import Job
from launcher.supervisor.attempt import Attempt
from launcher.supervisor.cause import Failure, Outcome
from launcher.supervisor.succession import ANSWER_S, Succession

AGAIN_S = 0.5
"""Signals of one moment are one wish: a session that is torn down sends SIGHUP and SIGTERM together."""
Wish = Literal["stop", "interrupt", "cancel", "limit", "preempted", "given up", "terminated"]
"""Why all ranks are to save and end. `terminated`: by a queue's SIGTERM, whose reason is being asked for."""
BY_USER: tuple[Wish, ...] = ("stop", "interrupt", "cancel")


class Ending:
    def __init__(self, run: RunDir, job: Job, plan: Plan, succession: Succession, current: Callable[[], Attempt]) -> None:
        """`current`: the newest attempt."""
        self.run, self.job, self.plan, self.succession, self.current = run, job, plan, succession, current
        self.wished: Wish | None = None
        self.wished_at = 0.0
        self.by_queue = False
        """Whether a queue sent SIGTERM, for whatever reason."""
        self.explain_by: float | None = None
        """Until then the reason of a SIGTERM is waited for."""

    def signalled(self, number: signal.Signals) -> None:
        """A second Ctrl-C or SIGTERM means at once; a second `launch stop`, or the terminal that goes, does not."""
        if number == signal.SIGUSR1:
            self.succession.hinted()
            return
        if number == signal.SIGTERM and self.succession.batch:
            self.terminated("SIGTERM received")
            return
        one_moment = time.monotonic() - self.wished_at < AGAIN_S and number != signal.SIGINT
        if self.wished in BY_USER and not one_moment and number != signal.SIGHUP:
            self.end_at_once(f"{number.name} again")
        else:
            self.end_saved(f"{number.name} received", "interrupt" if number == signal.SIGINT else "stop")

    def terminated(self, how: str) -> None:
        """By the queue, which kills soon: all ranks save at once, and why is asked meanwhile."""
        if self.wished in (None, "limit"):
            self.by_queue = True
            if self.wished is None:
                self.end_saved(how, "terminated")
            self.succession.ask()
            self.explain_by = self.explain_by or time.monotonic() + ANSWER_S

    def explain(self) -> None:
        if self.explain_by is None or (self.succession.errands.under_way and time.monotonic() < self.explain_by):
            return
        self.explain_by, self.wished = None, self.succession.why_terminated(saving=self.wished == "limit")
        words = {"preempted": "preempted: another job takes the nodes", "limit": "the time limit is reached",
                 "given up": "this machine stood still, and its agents elsewhere gave the job up",
                 "stop": "neither preempted nor at its time limit: somebody's scancel"}  # fmt: skip
        record(self.run, "stopping", attempt=self.current().number, reason=words[self.wished])
        if self.wished == "stop":
            self.succession.withdraw()  # now: there may be no time for it at the end

    def end_saved(self, why: str, wish: Wish) -> None:
        """All ranks save at the next step boundary. The first wish decides the exit code; a user's goes before a queue's."""
        if self.wished is None:
            self.wished, self.wished_at = wish, time.monotonic()
            record(self.run, "stopping", attempt=self.current().number, reason=f"{why}: {self.asked()}")
            self.current().ask_to_stop()
        elif self.wished not in BY_USER and wish in BY_USER:
            self.wished, self.wished_at, self.explain_by = wish, time.monotonic(), None
            record(self.run, "stopping", attempt=self.current().number, reason=f"{why}: nothing goes on afterwards")

    def asked(self) -> str:
        if self.plan.entry.kind == "worker":
            return "saving at the next step boundary"
        return f"its ranks have {self.plan.entry.stop_grace_s:g} s to save and end"

    def end_at_once(self, why: str, wish: Wish | None = None) -> None:
        if wish is not None:
            self.wished, self.explain_by = wish, None
        record(self.run, "stopping", attempt=self.current().number, reason=f"{why}: at once, nothing more is saved")
        self.current().kill()

    def outcome(self, reason: str, failure: Failure | None = None) -> Outcome:
        """Stopped; queued where the queue itself wanted it, and a successor goes on."""
        why = {"limit": "at the time limit", "preempted": "preempted", "given up": "given up"}.get(self.wished or "")
        if why is None:
            return Outcome(state="stopped", exit_code=self.stop_code, reason=reason, failure=failure)
        stays = self.wished != "limit" or self.job.retry.when_time_is_up == "continue"
        if stays and self.succession.next is not None:
            return Outcome(state="queued", exit_code=75, reason=f"{why}: {reason}", failure=failure)
        rest = "no other job is queued: continue with launch resume" if stays else "when_time_is_up says stop"
        return Outcome(state="stopped", exit_code=75, reason=f"{why}: {reason}; {rest}", failure=failure)

    def saved(self) -> str:
        """What a stop left behind; a program of the user's own saves where it likes."""
        if self.plan.entry.kind == "worker" and not checkpoints.checkpoints(self.run):
            return "before its first step: there was nothing to save, and resume begins anew"
        return "saved, can be continued"

    @property
    def stop_code(self) -> int:
        return 130 if self.wished == "interrupt" else 75
