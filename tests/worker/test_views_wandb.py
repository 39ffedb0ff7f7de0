"""W&B over the network: what it is told where it answers, and that it costs nothing where it does not."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.load import load_job
from launcher.rundir import RunDir
from launcher.worker import views
from tests.patience import PATIENCE_S
from tests.worker.fake_wandb import Endpoint, serving
from tests.worker.test_views import wait_for, wandb_history, write
from tests.worker.trainings import new_run

KEY = "a1b2c3d4" * 5
SECRET = "hush-hush"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    return new_run(tmp_path, log={"wandb": {"project": "demo"}, "csv": True, "plots": False}, env={"TOKEN": SECRET})


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    with serving() as endpoint:
        monkeypatch.setenv("WANDB_BASE_URL", endpoint.url)
        yield endpoint


def shown(run: RunDir) -> views.Views:
    return views.start(run, load_job(run.job))


def log(run: RunDir) -> str:
    return (run.attempt(1) / "views.log").read_text()


def steps(endpoint: Endpoint) -> list[int]:
    return [row["_step"] for row in endpoint.rows]


def test_rows_come_once_and_a_new_attempt_goes_on_in_the_same_run(run: RunDir, endpoint: Endpoint) -> None:
    view = shown(run)
    write(run, range(20))
    view.finish(PATIENCE_S)
    assert steps(endpoint) == list(range(20))
    view = shown(run)
    write(run, range(15, 30))
    view.finish(PATIENCE_S)
    assert steps(endpoint) == list(range(30))
    assert endpoint.names == {run.id}


def test_it_gets_the_job_and_no_secret(run: RunDir, endpoint: Endpoint) -> None:
    view = shown(run)
    write(run, range(3))
    view.finish(PATIENCE_S)
    assert endpoint.config["train"]["value"]["data"]["batch_size"] == 4
    assert "env" not in endpoint.config
    kept = b"".join(path.read_bytes() for path in run.path.rglob("*") if path.is_file() and path != run.job)
    assert SECRET.encode() not in endpoint.received + kept
    assert KEY.encode() not in endpoint.received + kept


@pytest.mark.parametrize("mood", ["hangs", "fails"])
def test_where_it_does_not_answer_the_rows_are_kept_for_later(run: RunDir, endpoint: Endpoint, mood: str) -> None:
    endpoint.mood = mood
    view = shown(run)
    write(run, range(20))
    view.finish(PATIENCE_S)
    assert [row["_step"] for row in wandb_history(run)] == list(range(20))
    assert "W&B cannot take the run" in log(run)


def test_where_nobody_listens_the_rows_are_kept_for_later(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{unused.getsockname()[1]}")
    view = shown(run)
    write(run, range(20))
    view.finish(PATIENCE_S)
    assert [row["_step"] for row in wandb_history(run)] == list(range(20))


@pytest.mark.parametrize("mood", ["hangs", "fails"])
def test_an_endpoint_that_dies_on_the_way_costs_no_more_than_the_time_given(
    run: RunDir, endpoint: Endpoint, mood: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "GRACE_S", PATIENCE_S)
    view = shown(run)
    write(run, range(5))
    wait_for(lambda: steps(endpoint) == list(range(5)))
    endpoint.mood = mood
    write(run, range(5, 20))
    view.finish(3)
    assert isinstance(view.process, subprocess.Popen)
    assert view.process.returncode == 1  # by itself
    assert "not every view of the metrics is complete" in capfd.readouterr().err
    assert "W&B has not taken everything yet" in log(run)
    assert len(run.csv.read_text().splitlines()) == 21
    endpoint.mood = "answers"
    view = shown(run)
    view.finish(PATIENCE_S)
    assert steps(endpoint) == list(range(20))


def test_without_a_key_the_run_is_kept_for_later(run: RunDir, endpoint: Endpoint, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    view = shown(run)
    write(run, range(5))
    view.finish(PATIENCE_S)
    assert len(wandb_history(run)) == 5
    assert endpoint.received == b""


def test_a_starting_endpoint_does_not_hold_up_the_training(
    run: RunDir, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "GRACE_S", PATIENCE_S)
    endpoint.mood = "hangs"
    view = shown(run)
    write(run, range(20))
    wait_for(lambda: run.csv.exists() and len(run.csv.read_text().splitlines()) == 21)
    view.finish(0.5)
    assert isinstance(view.process, subprocess.Popen)
    assert view.process.returncode == 1  # by itself
    assert "W&B has taken nothing. The rows are in" in log(run)
