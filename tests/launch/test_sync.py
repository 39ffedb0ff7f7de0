"""launch sync against an endpoint that behaves: each row once, whatever was kept offline by how many attempts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.launch.conftest import TRAIN, ByHand, Launch
from tests.worker.fake_wandb import Endpoint, serving

TRACKED = TRAIN + "log: {wandb: {project: demo}}\n"
KEY = "a1b2c3d4" * 5


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with serving() as endpoint:
        monkeypatch.setenv("WANDB_BASE_URL", endpoint.url)
        yield endpoint


def rows(count: int) -> list[dict[str, float]]:
    return [{"step": step, "train/loss": 1 / (step + 1)} for step in range(count)]


def test_each_row_is_sent_once_however_often_it_is_asked_for(launch: Launch, by_hand: ByHand, endpoint: Endpoint) -> None:
    run = by_hand(job=TRACKED, rows=rows(20), ledger=[{"time": "2026-01-01T00:00:00+00:00", "event": "done"}])
    segments = [run.wandb / f"offline-run-20260101_00000{number}-{run.id}" / f"run-{run.id}.wandb" for number in (1, 2)]
    for segment in segments:
        segment.parent.mkdir(parents=True)
        segment.touch()
    assert "sent 20 of 20 rows to " in launch("sync", "last").out
    assert "has all 20 rows already" in launch("sync", "last").out
    with run.metrics.open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows(25)[20:])
    assert launch("sync", "last", "--json").json["sent"] == 5
    assert [row["_step"] for row in endpoint.rows] == list(range(25))
    assert endpoint.names == {run.id}
    assert all(segment.with_name(f"{segment.name}.synced").exists() for segment in segments)


def test_where_nobody_answers_or_no_key_is_there_it_says_so(
    launch: Launch, by_hand: ByHand, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    by_hand(job=TRACKED, rows=rows(3))
    endpoint.mood = "fails"
    said = launch("sync", "last")
    assert (said.code, endpoint.url in said.err) == (3, True)
    assert "nothing was sent" in said.err
    assert "does not answer" in said.err
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    said = launch("sync", "last")
    assert said.code == 3
    assert "there is no key" in said.err
    assert "wandb login" in said.err


@pytest.mark.parametrize(("job", "logged", "words"), [(TRAIN, 3, "log.wandb is not set"), (TRACKED, 0, "no step yet")])
def test_a_run_with_nothing_to_send_is_refused(launch: Launch, by_hand: ByHand, job: str, logged: int, words: str) -> None:
    by_hand(job=job, rows=rows(logged))
    said = launch("sync", "last")
    assert said.code == 2
    assert words in said.err
