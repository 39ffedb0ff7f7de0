"""Each trial has the spares that its job asks for beside the nodes that train."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from launcher.backends import local
from launcher.load import load_job
from launcher.plan import read_plan
from launcher.prepare import plan_for, write
from launcher.rundir import RunDir
from launcher.search.company import Alone
from launcher.search.loop import Search
from launcher.search.preview import preview
from launcher.search.slots import too_many
from launcher.search.trials import trial_job

SWEEP = """
extends: base.yaml
resources: {nodes: %d, spares: 1}
sweep: {method: grid, metric: val/loss, goal: minimize, parameters: {seed: [1, 2, 3, 4]}}
"""


@pytest.mark.parametrize("nodes", [1, 2])
def test_a_trial_trains_on_all_its_nodes_and_has_its_spare_beside_them(
    nodes: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "usable_cpus", lambda: tuple(range(2 * (nodes + 1))))
    (folder / "sweep.yaml").write_text(SWEEP % nodes)
    job = load_job(folder / "sweep.yaml")
    assert (preview(job).ranks, preview(job).parallel) == (nodes, 2)
    run = RunDir(folder / "sweep")
    run.path.mkdir()
    write(run, job, plan_for(job))
    pool: Any = SimpleNamespace(agents={}, leaving={})
    search = Search(run, job, pool, Alone(run, read_plan(run)))
    assert [(slot.first, slot.size) for slot in search.slots] == [(0, nodes + 1), (nodes + 1, nodes + 1)]
    for slot in search.slots:
        plan = slot.plan(trial_job(job, {"seed": 1}, group="g", fold=None))
        assert (plan.world.nodes, len(plan.nodes)) == (nodes, nodes + 1)
    assert f"each on {nodes + 1} node(s) (spares included). Write parallel: 2" in too_many(job, 2)
