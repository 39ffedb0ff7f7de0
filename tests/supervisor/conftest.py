from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from launcher import backends
from launcher.backends.carrier import start_carrier
from launcher.plan import Cluster, Machine, make_plan
from launcher.prepare import prepare
from launcher.rundir import RunDir
from launcher.spec import Job

AGENT = Path(__file__).with_name("scripted_agent.py")


def job(**parts: Any) -> Job:
    parts["resources"] = {"nodes": 2, **parts.get("resources", {})}
    return Job.model_validate({"name": "scripted", "workdir": "/tmp", "run": {"script": "train.py"}, **parts})


@pytest.fixture
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., RunDir]:
    """Prepares a run of two nodes with one rank each, whose agents behave as the scenario says."""

    def make(scenario: dict[str, Any], **parts: Any) -> RunDir:
        script = tmp_path / "scenario.json"
        script.write_text(json.dumps(scenario))
        machines = tuple(Machine(host=f"host{index}", address="127.0.0.1", cpus=(0, 1)) for index in range(2))
        plan = make_plan(job(**parts), Cluster(backend="local", machines=machines, python=sys.executable))

        backend = ModuleType("scripted")

        def start_agents(_plan: Any, nodes: Any, log: Path) -> Any:
            for node in nodes:
                yield start_carrier([sys.executable, "-S", str(AGENT), str(node.index), str(script)], log), (node,)

        backend.start_agents = start_agents  # type: ignore[attr-defined]
        monkeypatch.setitem(backends.BACKENDS, "local", backend)
        return prepare(job(**parts), plan, tmp_path / "runs")

    return make
