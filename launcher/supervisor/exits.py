"""How an attempt's ranks ended, in the order in which they did, and what that comes to."""

from __future__ import annotations

import signal
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from launcher.rank import SAVED
from launcher.rundir import RunDir
from launcher.supervisor.cause import Failure, echoes, failure_of, root_cause

COLLECT_S = 0.03
"""Failures of one moment are one failure: the first to be told of need not be the first that happened."""
COLLECT_EARLY_S = 0.5
"""Before any step: if the ranks of one node alone fail, it may be the node."""
COLLECT_ECHOES_S = 1.0
"""Where all that failed so far only tells of another rank's end, that other rank is waited for."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How an attempt ended."""

    how: Literal["done", "saved", "killed", "failed", "impossible"]
    failure: Failure | None = None
    reason: str | None = None


class Exits:
    def __init__(self, number: int, run: RunDir, hosts: Mapping[int, str], *, builtin: bool, apart: bool) -> None:
        """`number`: of the attempt. `builtin`: its ranks are launcher's own worker. `apart`: on machines of their own."""
        self.number, self.run, self.hosts, self.builtin, self.apart = number, run, hosts, builtin, apart
        self.told: list[dict[str, Any]] = []
        self.stop_asked = self.kill_asked = False
        self.known: dict[tuple[int, int | None], Failure] = {}
        """What the ranks that failed said, each read once."""

    def failed(self, message: Mapping[str, Any]) -> bool:
        """A rank that saved, or that we ended, has not failed. Of a script that nobody asked, 75 is a failure like others."""
        ended_by_us = message["killed"] or self.kill_asked or (self.stop_asked and message["code"] == -signal.SIGTERM)
        saved = message["code"] == SAVED and (self.stop_asked or self.builtin)
        return not (ended_by_us or saved or message["code"] == 0)

    def well_on(self, node: int, ranks: int) -> bool:
        """Whether so many have ended there, and none of them failed."""
        told = [each for each in self.told if each["agent"] == node]
        return len(told) >= ranks and not any(map(self.failed, told))

    @property
    def failed_on(self) -> set[int]:
        """Nodes whose ranks failed by themselves, and not of another rank's end."""
        failures = map(self.failure, filter(self.failed, self.told))
        return {each.node for each in failures if each.node is not None and not echoes(each)}

    def patience_s(self, message: Mapping[str, Any], pulses: int) -> float:
        """How long the others are waited for after the first failure."""
        if message["code"] < 0:
            return 0.0  # a signal is nobody's echo
        return COLLECT_EARLY_S if self.apart and not message["pulses"] and not pulses else COLLECT_S

    def only_echoes(self) -> bool:
        return all(echoes(self.failure(each)) for each in self.told if self.failed(each))

    def failure(self, message: Mapping[str, Any]) -> Failure:
        """What the rank that ended so said of it."""
        key = message["rank"], message.get("log_attempt")
        if key not in self.known:
            self.known[key] = failure_of(self.run, self.number, message, self.hosts)
        return self.known[key]

    def outcome(self, lost: Failure | None) -> Ended:
        """`lost`: what came to the attempt from elsewhere than its ranks."""
        if self.kill_asked:
            return Ended(how="killed")
        failures = [message for message in self.told if self.failed(message)]
        cause = root_cause([self.failure(message) for message in failures]) if failures else None
        if lost is not None and (cause is None or echoes(cause) or cause.kind == "agent"):
            return Ended(how="failed", failure=lost)
        if cause is not None:
            return Ended(how="failed", failure=cause)
        codes = {message["code"] for message in self.told}
        if not self.stop_asked and not codes <= {0, SAVED}:
            return Ended(
                how="failed",
                failure=replace(
                    self.failure(self.told[0]), kind="agent", message="its ranks were ended, and nobody asked for it"
                ),
            )
        if codes == {0} and not (self.stop_asked and not self.builtin):
            return Ended(how="done")
        return Ended(how="saved", reason=None if codes <= {0, SAVED} else unsaved(codes))


def unsaved(codes: Collection[int]) -> str:
    """Why ranks that were asked to save and end count as ended without."""
    grace = ", for they did not end on SIGTERM" if -signal.SIGKILL in codes else ""
    return f"ended by {'SIGKILL' if grace else 'SIGTERM'}{grace}: its ranks saved nothing that is known of"
