"""Which nodes are to blame for what failed, in this run and for others of the same user."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence

from launcher.backends import distrust
from launcher.plan import Node, Plan
from launcher.rundir import RunDir
from launcher.supervisor.attempt import Attempt
from launcher.supervisor.cause import Failure
from launcher.supervisor.muster import Muster
from launcher.supervisor.suspicion import Suspicion, suspicion


class Blame:
    def __init__(self, run: RunDir, plan: Plan) -> None:
        self.run, self.plan = run, plan
        self.suspect: dict[int, str] = {}
        """Nodes that are not tried again, and why."""
        self.deaths: Counter[int] = Counter()
        """Of nodes, since another one failed: of their agents, or at once of their ranks."""

    def suspected(self, failure: Failure, attempt: Attempt, muster: Callable[[], Muster]) -> Suspicion | None:
        """A node that is to blame is not tried again, where there is another way; other runs of the same user learn of it."""
        node = failure.node
        self.deaths = Counter({node: self.deaths[node] + 1}) if node is not None else Counter()
        again = node is not None and self.deaths[node] > 1
        apart = 1 if self.plan.rehearsal else len(attempt.members)
        found = suspicion(failure, age_s=attempt.age_s, failed_on=attempt.exits.failed_on, nodes=apart, again=again,
                          silent=failure.kind == "agent" and node in self.suspect)  # fmt: skip
        if found is None:
            return None
        if self.plan.backend != "local" and failure.host is not None and found.weight:
            distrust.hold_against(failure.host, found.what, run=self.run.id, weight=found.weight)
        if found.node in self.suspect:
            return found
        self.suspect[found.node] = found.what
        here = muster()
        if failure.kind == "signal" and not again and (here.forgiven or not here.members):
            del self.suspect[found.node]  # a new attempt in the same place is cheaper than another job
            return None
        return found


def trusted(nodes: Sequence[Node], count: int) -> list[Node]:
    """Where there are spares, those that failed other runs lately are the spares."""
    hosts = [node.host for node in nodes]
    bad = distrust.distrusted(distrust.remembered(time.time()), hosts, share=1.0) if count < len(nodes) else ()
    return sorted(sorted(nodes, key=lambda node: node.host in bad)[:count], key=lambda node: node.index)
