"""The supervisor against many simulated agents: start of an attempt, a lost agent, another attempt, the end.

python tests/benchmarks/many_agents.py [AGENTS] [CARRIERS]      (10,000 and 4)

Reach: CPU per agent no more than at a tenth of them, <= 20 KB of memory per agent, a decision in < 1 s.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

from launcher import backends
from launcher.backends.carrier import start_carrier
from launcher.load import parse_job
from launcher.plan import Cluster, Machine, Node, Plan, make_plan
from launcher.prepare import prepare
from launcher.rundir import json_lines
from launcher.supervisor import supervise

AGENTS = Path(__file__).with_name("simulated_agents.py")
SETTLE_S = 3.0
"""From the start of the ranks to the loss of one agent, and to the end of the second attempt."""
LOST_AFTER_S = 8.0
LOOK_EVERY_S = 0.01
"""At the ledger: a screen is drawn too seldom to tell when an event was written."""


def simulated(count: int, carriers: int) -> ModuleType:
    backend = ModuleType("simulated")

    def start_agents(_plan: Plan, nodes: Sequence[Node], log: Path) -> Iterator[tuple[subprocess.Popen[bytes], Sequence[Node]]]:
        for part in range(carriers):
            some = nodes[part * len(nodes) // carriers : (part + 1) * len(nodes) // carriers]
            ends = (some[0].index, some[-1].index + 1, count // 2, SETTLE_S, SETTLE_S)
            yield start_carrier([sys.executable, "-S", str(AGENTS), *map(str, ends)], log), some

    backend.start_agents = start_agents  # type: ignore[attr-defined]
    return backend


def measured(count: int, carriers: int, folder: Path) -> dict[str, float]:
    """Milliseconds of CPU per agent and seconds of decision."""
    backends.BACKENDS["local"] = simulated(count, carriers)  # type: ignore[assignment]
    text = f"name: many\nresources: {{nodes: {count - 1}, spares: 1, procs_per_node: 1}}\nrun: {{program: ['true']}}\n"
    memory = rss_kb()
    job = parse_job(f"{text}retry: {{lost_after: {LOST_AFTER_S:g}s}}", workdir=str(folder))
    machines = tuple(Machine(host=f"n{index}", address="127.0.0.1", cpus=(0,)) for index in range(count))
    plan = make_plan(job, Cluster(backend="local", machines=machines, python=sys.executable))
    run = prepare(job, plan, folder / "runs")
    run.provenance.write_text("{}")
    seen: list[tuple[float, float]] = []
    """Wall and CPU seconds at each event of the ledger."""

    def look() -> None:
        lines = sum(1 for _ in run.events.open("rb"))
        seen.extend([(time.monotonic(), time.process_time())] * (lines - len(seen)))

    over = threading.Event()

    def watch() -> None:
        while not over.wait(LOOK_EVERY_S):
            look()

    look()
    began = time.process_time()
    watching = threading.Thread(target=watch)
    watching.start()
    outcome = supervise(run)
    over.set()
    watching.join()
    look()
    assert outcome.state == "done", outcome
    events = [entry["event"] for entry in json_lines(run.events)]
    at = dict(zip(events[::-1], seen[::-1], strict=True))  # the first of each kind
    lost, again = at["failure"], seen[len(events) - 1 - events[::-1].index("running")]
    alone = at["running"]
    return {
        "start of an attempt, CPU per agent [ms]": 1000 * (alone[1] - began) / count,
        "waiting, CPU per agent and second [ms]": 1000 * (lost[1] - alone[1]) / count / (lost[0] - alone[0]),
        "lost agent to the next attempt running, CPU per agent [ms]": 1000 * (again[1] - lost[1]) / count,
        "the end, CPU per agent [ms]": 1000 * (seen[-1][1] - again[1]) / count,
        "memory per agent [KB]": (rss_kb() - memory) / count,
        "start to all ranks running, wall [s]": alone[0] - seen[0][0],
        "agent silent to decision, beyond lost_after [s]": lost[0] - alone[0] - SETTLE_S - LOST_AFTER_S,
        "decision to all ranks running again, wall [s]": again[0] - lost[0],
    }


def rss_kb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measured(int(sys.argv[2]), int(sys.argv[3]), Path(folder))))
        return
    most, carriers = (int(word) for word in [*sys.argv[1:], *("10000", "4")[len(sys.argv) - 1 :]])
    few, many = (alone(count, carriers) for count in (most // 10, most))
    print(f"{'':<62}{most // 10:>10}{most:>10}")
    for name, value in many.items():
        print(f"{name:<62}{few[name]:>10.3f}{value:>10.3f}")


def alone(count: int, carriers: int) -> dict[str, float]:
    """In a process of its own, for its memory."""
    argv = [sys.executable, __file__, "--one", str(count), str(carriers)]
    done = subprocess.run(argv, check=True, capture_output=True, text=True, env={**os.environ, "XDG_STATE_HOME": "/nonexistent"})
    return dict(json.loads(done.stdout))


if __name__ == "__main__":
    main()
