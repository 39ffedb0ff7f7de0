"""Who is taken for lost."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from launcher.backends.carrier import start_carrier
from launcher.plan import Cluster, Machine, make_plan
from launcher.supervisor.pool import Pool
from tests.patience import PATIENCE_S
from tests.supervisor.conftest import job

GREETS = """
import time
print('{"kind": "hello", "agent": 0}', flush=True)
time.sleep(600)
"""
ANSWERS = """
import json, sys
print('{"kind": "hello", "agent": 0}', flush=True)
for line in sys.stdin:
    if json.loads(line)["kind"] == "ping":
        print('{"kind": "pong", "agent": 0}', flush=True)
"""

IMPATIENT = """
import json, select, sys
print('{"kind": "hello", "agent": 0}', flush=True)
while select.select([0], [], [], 6.0)[0] and (line := sys.stdin.readline()):
    if not json.loads(line).get("held_up"):
        print('{"kind": "pong", "agent": 0}', flush=True)
"""
ENDS = """
print('{"kind": "hello", "agent": 0}', flush=True)
"""
GONE = """
import time
print('{"kind": "gone", "agent": 0}', flush=True)
time.sleep(100)
"""

GREET = """
import json, sys
print(*(json.dumps({"kind": "hello", "agent": agent}) for agent in (0, 1)), sep="\\n", flush=True)
for line in sys.stdin:
    for agent in ANSWERING:
        print(json.dumps({"kind": "pong", "agent": agent}), flush=True)
"""


@contextmanager
def pool_of(script: str, backend: str, lost_after_s: float, *, agents: int = 1, log: Path = Path(os.devnull)) -> Iterator[Pool]:
    """So many agents over one stream, which behave as the script says."""
    carried = ModuleType("carried")
    carried.start_agents = lambda _plan, nodes, log: [(start_carrier([sys.executable, "-S", "-c", script], log), nodes)]  # type: ignore[attr-defined]
    machines = tuple(Machine(host=f"host{index}", address="127.0.0.1", cpus=(0,)) for index in range(agents))
    plan = make_plan(job(resources={"nodes": agents}), Cluster(backend=backend, machines=machines, python=sys.executable))
    with Pool(carried, log=log, lost_after_s=lost_after_s) as pool:  # type: ignore[arg-type]
        pool.start(plan, plan.nodes)
        yield pool


def heard(pool: Pool, *kinds: str) -> str:
    """The first of these messages, or `lost`."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        for news in pool.poll(0.02):
            if (kind := "lost" if news.kind == "lost" else news.message["kind"]) in (*kinds, "lost"):
                return str(kind)
    raise AssertionError("nothing heard")


def end_after_silence(pool: Pool) -> None:
    """The stream of agents of which nothing was heard for nearly as long as they may be silent."""
    assert heard(pool, "hello") == "hello"
    (carrier,) = pool.carriers
    carrier.process.kill()
    carrier.process.wait(PATIENCE_S)
    pool.pinged = time.monotonic()
    for agent in pool.agents.values():
        agent.heard = pool.pinged - pool.lost_after_s + 1.0


def test_nobody_is_lost_because_the_supervisor_itself_stood_still() -> None:
    with pool_of(ANSWERS, "local", 4.0) as pool:
        assert heard(pool, "pong") == "pong"
        time.sleep(2.0)  # longer than the last ping is good for, shorter than an agent's patience
        assert heard(pool, "pong") == "pong"


def test_nobody_is_lost_because_the_supervisors_loop_is_held_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launcher.supervisor.pool.PING_S", 0.1)
    with pool_of(IMPATIENT, "local", 8.0) as pool:
        assert heard(pool, "pong") == "pong"
        time.sleep(9.0)
        list(pool.poll(0.0))
        assert heard(pool, "pong") == "pong"


def test_one_that_is_held_up_too_long_lets_its_agents_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launcher.supervisor.pool.HELD_UP_S", 0.0)
    with pool_of(IMPATIENT, "local", 8.0) as pool:
        assert heard(pool, "pong") == "pong"
        (carrier,) = pool.carriers
        carrier.process.wait(PATIENCE_S)
        assert heard(pool) == "lost"


@pytest.mark.parametrize(
    ("script", "backend", "lost_after_s", "waited"),
    [
        (ENDS, "local", 60.0, False),
        (ENDS, "hosts", 1.5, True),
        (ENDS, "slurm", 1.5, True),  # an srun that was killed tells nothing of a node that is cut off
        (GONE, "slurm", 60.0, False),
    ],
)
def test_an_agent_beyond_reach_is_waited_for_unless_it_is_known_to_be_gone(
    script: str, backend: str, lost_after_s: float, waited: bool
) -> None:
    with pool_of(script, backend, lost_after_s) as pool:
        (agent,) = pool.agents.values()
        assert heard(pool, "lost") == "lost"
        assert (time.monotonic() >= agent.heard + lost_after_s) is waited


@pytest.mark.parametrize("backend", ["hosts", "slurm"])
@pytest.mark.parametrize(("script", "lost_after_s", "why"), [("", 1.5, "ended"), (GREETS, 30.0, "silent")])
def test_a_connection_that_never_came_about_is_no_silence_of_its_node(
    backend: str, script: str, lost_after_s: float, why: str
) -> None:
    with pool_of(script, backend, lost_after_s) as pool:
        if script:
            end_after_silence(pool)
        until = time.monotonic() + PATIENCE_S
        lost = None
        while lost is None and time.monotonic() < until:
            lost = next((news.message for news in pool.poll(0.02) if news.kind == "lost"), None)
        assert lost is not None
        assert lost["why"] == why


def test_no_node_is_suspect_where_the_step_of_all_did_not_come_up_on_one_of_them() -> None:
    with pool_of(GREETS, "slurm", 30.0, agents=2) as pool:
        end_after_silence(pool)
        found: dict[int, str] = {}
        until = time.monotonic() + PATIENCE_S
        while len(found) < 2 and time.monotonic() < until:
            found |= {news.agent: news.message["why"] for news in pool.poll(0.02) if news.kind == "lost"}
        assert found == {0: "ended", 1: "ended"}


def test_an_agent_whose_ranks_did_not_end_is_waited_for() -> None:
    with pool_of(ANSWERS, "slurm", 60.0) as pool:
        assert heard(pool, "pong") == "pong"
        (agent,) = pool.agents.values()
        pool.lost_after_s = 1.5
        pool.lose(agent, "ended", "its ranks were not gone")
        assert heard(pool, "lost") == "lost"
        assert time.monotonic() >= agent.heard + 1.5


@pytest.mark.parametrize(("answering", "lost"), [((), {0: "ended", 1: "ended"}), ((0,), {1: "silent"})])
def test_no_node_is_suspect_where_the_one_stream_of_all_stands_still(answering: tuple[int, ...], lost: dict[int, str]) -> None:
    with pool_of(GREET.replace("ANSWERING", repr(answering)), "slurm", 6.0, agents=2) as pool:
        found: dict[int, str] = {}
        until = time.monotonic() + PATIENCE_S
        while len(found) < len(lost) and time.monotonic() < until:
            found |= {news.agent: news.message["why"] for news in pool.poll(0.02) if news.kind == "lost"}
        assert found == lost
