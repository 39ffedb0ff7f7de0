"""Who is taken for lost."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from launcher.backends.carrier import start_carrier
from launcher.plan import Cluster, Machine, make_plan
from launcher.supervisor.pool import Pool
from tests.supervisor.conftest import job

ANSWERS = """
import json, sys
print('{"kind": "hello", "agent": 0}', flush=True)
for line in sys.stdin:
    if json.loads(line)["kind"] == "ping":
        print('{"kind": "pong", "agent": 0}', flush=True)
"""


@contextmanager
def pool_of(script: str, backend: str, lost_after_s: float) -> Iterator[Pool]:
    """One agent, which behaves as the script says."""
    carried = ModuleType("carried")
    carried.start_agents = lambda _plan, nodes: [(start_carrier([sys.executable, "-S", "-c", script]), nodes)]  # type: ignore[attr-defined]
    machines = (Machine(host="host0", address="127.0.0.1", cpus=(0,)),)
    plan = make_plan(job(resources={"nodes": 1}), Cluster(backend=backend, machines=machines, python=sys.executable))
    with Pool(carried, lost_after_s=lost_after_s) as pool:  # type: ignore[arg-type]
        pool.start(plan, plan.nodes)
        yield pool


def heard(pool: Pool, *kinds: str) -> str:
    """The first of these messages, or `lost`."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        for news in pool.poll(0.02):
            if (kind := "lost" if news.kind == "lost" else news.message["kind"]) in (*kinds, "lost"):
                return str(kind)
    raise AssertionError("nothing heard")


def test_nobody_is_lost_because_the_supervisor_itself_stood_still() -> None:
    with pool_of(ANSWERS, "local", 4.0) as pool:
        assert heard(pool, "pong") == "pong"
        time.sleep(2.0)  # longer than the last ping is good for, shorter than an agent's patience
        assert heard(pool, "pong") == "pong"
