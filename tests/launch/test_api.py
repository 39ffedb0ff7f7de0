"""The Python face."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import launcher
from launcher import api, backends
from launcher.backends.waiting import Waiting
from launcher.events import Summary, record
from launcher.load import load_job
from launcher.prepare import plan_for, prepare
from launcher.rundir import locked
from tests.patience import PATIENCE_S


@pytest.fixture(autouse=True)
def reaped() -> Any:
    yield
    for process in api.STARTED:
        process.wait(PATIENCE_S)


def job(project: Path, shell: str, name: str = "j.yaml") -> Path:
    path = project / name
    path.write_text(f"resources: {{procs_per_node: 1, threads: 1}}\nrun: {{program: [sh, -c, {json.dumps(shell)}]}}\n")
    return path


def test_import_loads_neither_torch_nor_the_launch_half() -> None:
    program = (
        "import sys, launcher; print([name for name in sys.modules if name.split('.')[0] in ('torch', 'pydantic', 'launcher')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "['launcher']"


@pytest.mark.parametrize("name", launcher.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(launcher, name)
    assert name in dir(launcher)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'lunch'"):
        launcher.lunch  # noqa: B018


def test_what_a_script_may_call_does_nothing_outside_a_run() -> None:
    launcher.pulse()
    assert launcher.should_stop() is False


def test_run_waits_and_returns_a_done_run(project: Path) -> None:
    run = launcher.run(job(project, "echo hello"))
    assert (run.state, run.id.split("-")[2]) == ("done", "j")
    assert run.path == project / "runs" / run.id
    assert run.metrics() == []
    assert launcher.open("last").id == run.id
    assert launcher.open(run.path).state == "done"


def test_run_takes_nodes_and_overrides(project: Path) -> None:
    run = launcher.run(job(project, "true"), nodes=2, backend="local", overrides={"run.args": ["no", "1e-3"], "seed": 7})
    written = load_job(run.path / "job.yaml")
    assert (written.resources.nodes, written.seed) == (2, 7)
    assert written.run is not None
    assert written.run.args == ["no", "1e-3"]


@pytest.mark.parametrize(
    ("arguments", "error", "code"),
    [({"nodes": 0}, "SpecError", 2), ({"overrides": ["sed=1"]}, "SpecError", 2), ({"backend": "nowhere"}, "SpecError", 2)],
)
def test_a_wrong_job_raises_before_anything_is_written(project: Path, arguments: Any, error: str, code: int) -> None:
    with pytest.raises(launcher.LaunchError) as raised:
        launcher.run(job(project, "true"), **arguments)
    assert (type(raised.value).__name__, raised.value.exit_code) == (error, code)
    assert not (project / "runs").exists()


def test_a_failed_training_raises_with_its_root_cause(project: Path) -> None:
    with pytest.raises(launcher.LaunchError, match="exited with code 7") as raised:
        launcher.run(job(project, "exit 7"))
    assert raised.value.exit_code == 1


@pytest.mark.parametrize(("verb", "error", "state"), [("stop", "Stopped", "stopped"), ("cancel", "Cancelled", "cancelled")])
def test_a_submitted_run_is_stopped_and_cancelled(project: Path, verb: str, error: str, state: str) -> None:
    run = launcher.submit(job(project, "trap 'exit 0' TERM; while true; do sleep 0.1; done"))
    with pytest.raises(TimeoutError):
        run.wait(timeout_s=0)
    getattr(run, verb)()
    with pytest.raises(getattr(launcher, error)) as raised:
        run.wait()
    assert (run.state, raised.value.exit_code) == (state, {"stop": 75, "cancel": 130}[verb])
    with pytest.raises(launcher.UsageError, match="is not running"):
        run.stop()


def test_a_supervisor_that_cannot_start_says_why(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = launcher.run(job(project, "true"))
    (run.path / "job.yaml").write_text("nonsense: true\n")
    with locked(run.directory) as lock, pytest.raises(launcher.SpecError, match="nonsense"):
        api.start_detached(run.directory, lock=lock)


def test_metrics_are_the_rows_so_far(by_hand: Any) -> None:
    by_hand(rows=[{"step": 1, "val/loss": 0.5}])
    assert launcher.open("last").metrics() == [{"step": 1, "val/loss": 0.5}]


def test_a_training_from_python_takes_the_allocation_as_the_command_line_does(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from launcher.planning import planned

    monkeypatch.setattr(backends, "QUEUES", {"local": SimpleNamespace(allocated=lambda: 3)})
    asked: dict[str, Any] = {"backend": "local", "overrides": [], "runs": project}
    spec = job(project, "true")
    assert planned(spec, nodes=None, **asked)[1].world.nodes == 3
    assert planned(spec, nodes=2, **asked)[1].world.nodes == 2


def test_a_function_is_called_here_and_takes_no_nodes(project: Path) -> None:
    for more in ({"nodes": 2}, {"backend": "slurm"}):
        with pytest.raises(launcher.UsageError, match="nodes and backend have no meaning"):
            launcher.sweep("none.yaml", objective="math:sqrt", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("what", ["stop", "cancel", "stacks"])
def test_only_an_end_takes_a_run_out_of_its_queue(project: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    spec = load_job(job(project, "true"))
    run = prepare(spec, plan_for(spec), project / "runs")
    record(run, "queued", job="12", backend="slurm")
    waits = Waiting(number="12", state="PENDING")
    taken: list[str] = []
    queue = SimpleNamespace(take_back=taken.append)
    monkeypatch.setattr(backends, "QUEUES", {"slurm": queue})
    monkeypatch.setattr(api, "standing", lambda _run: Summary(state="queued", job="12", backend="slurm"))
    monkeypatch.setattr(api, "Look", lambda _runs: SimpleNamespace(at=lambda _name: {} if taken else {"12": waits}))
    if what == "stacks":
        with pytest.raises(launcher.UsageError, match="is not running: it is queued"):
            api.ask(run, what)
    else:
        api.ask(run, what)
    assert taken == ([] if what == "stacks" else ["12"])


def test_a_text_of_a_call_may_have_any_letter(project: Path) -> None:
    spec = job(project, 'printf %s "$NOTE" | od -An -tx1 | grep -q "f0 9f 98 80"')
    assert launcher.run(spec, overrides={"env.NOTE": "\U0001f600"}).state == "done"
