"""CONTRACTS.md, "A run directory": layout, names, moving, job.yaml."""

from __future__ import annotations

import json
import re
import shutil
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.conftest import Case, Desk, checkpoints, rows, script_job, small, weights

RUN_ID = re.compile(r"\d{8}-\d{6}-[A-Za-z0-9._-]{1,64}-[a-z0-9]{4,}")


@pytest.mark.parametrize(
    "name",
    [
        "job.yaml",
        "plan.json",
        "events.jsonl",
        "metrics.jsonl",
        "timings.jsonl",
        "checkpoints/step-00000032/model.safetensors",
        "checkpoints/step-00000032/manifest.json",
        "logs/attempt-1/rank-0.log",
        "logs/attempt-1/rank-1.log",
        "logs/attempt-1/node-0.log",
        "tensorboard",
        "plots",
    ],
)
def test_a_run_directory_holds(finished: Case, name: str) -> None:
    assert (finished.path / name).exists()


def test_failure_json_is_there_only_if_an_attempt_failed(finished: Case) -> None:
    assert not (finished.path / "failure.json").exists()


def test_runs_lies_where_launch_is_called_and_holds_run_directories_only(finished: Case) -> None:
    assert [each.name for each in finished.desk.runs()] == [finished.path.name]
    assert finished.path.parent == finished.desk.folder / "runs"


def test_a_run_id_is_a_utc_timestamp_the_name_and_a_suffix(finished: Case) -> None:
    assert RUN_ID.fullmatch(finished.path.name)
    assert finished.path.name[16:].startswith("digits-")
    began = datetime.strptime(finished.path.name[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
    assert abs((datetime.now(UTC) - began).total_seconds()) < 3600


def test_the_last_line_of_metrics_has_the_last_step_and_steps_rise(finished: Case) -> None:
    steps = [row["step"] for row in rows(finished.path)]
    assert steps[-1] == 32
    assert all(one < other for one, other in pairwise(steps))
    assert {5, 10, 15, 20, 25, 30} <= set(steps)


def test_names_sort_by_age_and_the_list_does_even_within_a_second(desk: Desk) -> None:
    job = desk.job(script_job(), "same")
    made = [desk.launch(job, "--prepare", "--json").json["id"] for _ in range(5)]
    assert [each[:15] for each in made] == sorted(each[:15] for each in made)
    assert [each["id"] for each in desk.launch("list", "--json").json] == made[::-1]
    assert desk.status("last")["id"] == made[-1]
    assert desk.status("same")["id"] == made[-1]


def test_runs_can_lie_elsewhere(desk: Desk) -> None:
    job = desk.job(script_job())
    assert desk.launch(job, "--prepare", "--runs", "by-option").code == 0
    assert desk.launch(job, "--prepare", env={"LAUNCHER_RUNS": "by-variable"}).code == 0
    assert [len(list((desk.folder / each).iterdir())) for each in ("by-option", "by-variable")] == [1, 1]
    assert desk.runs() == []
    assert len(desk.launch("list", "--json", "--runs", "by-option").json) == 1
    assert len(desk.launch("list", "--json", env={"LAUNCHER_RUNS": str(desk.folder / "by-variable")}).json) == 1


@pytest.mark.parametrize("word", ["last", "digits", "id", "prefix", "path", "relative path"])
def test_a_run_is_named_by(finished: Case, word: str) -> None:
    names: dict[str, str | Path] = {
        "id": finished.path.name,
        "prefix": finished.path.name[:11],
        "path": finished.path,
        "relative path": f"runs/{finished.path.name}",
    }
    assert finished.desk.status(names.get(word, word))["id"] == finished.path.name


def test_a_path_names_a_run_from_any_folder(finished: Case, tmp_path: Path) -> None:
    assert finished.desk.launch("status", str(finished.path), "--json", cwd=tmp_path).json["id"] == finished.path.name


def test_a_name_that_fits_no_run_or_several_is_refused(desk: Desk) -> None:
    for name in ("one", "two"):
        assert desk.launch(desk.job(script_job(), name), "--prepare").code == 0
    for word in ("nothing-of-that-name", "20"):
        outcome = desk.launch("status", word)
        assert (outcome.code, outcome.out) == (2, "")
        assert word in outcome.err


def test_debug_makes_no_run(finished: Case) -> None:
    outcome = finished.desk.launch("debug", "digits.yaml", "--steps", "1")
    assert outcome.code == 0, outcome.said
    assert finished.desk.runs() == [finished.path]
    assert finished.desk.status("last")["id"] == finished.path.name


def read_back(run: Path) -> list[Path]:
    """All that launcher may read again: neither logs nor W&B's files nor pictures."""
    return [
        each
        for each in run.rglob("*")
        if each.suffix in (".json", ".jsonl", ".yaml") and "logs" not in each.parts and "wandb" not in each.parts
    ]


def test_nothing_read_back_holds_the_path_of_the_run(finished: Case, stopped: Case) -> None:
    for run in (finished.path, stopped.path):
        assert [each for each in read_back(run) if str(run) in each.read_text()] == []
        assert "{run_dir}" in (run / "plan.json").read_text()


def test_a_run_directory_can_be_copied_and_moved_and_continued(moved: Case, undisturbed: Case) -> None:
    assert weights(moved.path) == weights(undisturbed.path)


def test_without_its_history_a_run_directory_is_a_fresh_run_of_the_job(stopped: Case, undisturbed: Case, tmp_path: Path) -> None:
    there = tmp_path / "fresh"
    shutil.copytree(
        stopped.path, there, ignore=shutil.ignore_patterns("checkpoints", "metrics.*", "timings.jsonl", "events.jsonl")
    )
    assert stopped.desk.status(there)["state"] == "stopped"
    outcome = stopped.desk.launch("resume", str(there))
    assert outcome.code == 0, outcome.said
    assert weights(there) == weights(undisturbed.path)
    assert [row["step"] for row in rows(there)] == list(range(1, 61))


NASTY = {
    "NO": "no",
    "ON": "on",
    "NUMBER": "1e-3",
    "TIME": "08:00:00",
    "NULL": "null",
    "TILDE": "~",
    "NOTHING": "",
    "SPACES": "  a  ",
    "LINES": "a\nb\n",
    "QUOTES": "\"'\\",
    "OCTAL": "0o14",
    "OLD": "0644",
    "HASH": "a #b",
    "COLON": "a: b",
    "UNICODE": "é ☃ 𝄞",
    "TAB": "\t",
    "TRUE": "true",
    "DATE": "2026-11-24",
    "DOLLAR": "$HOME ${HOME} `id`",
    "BRACE": "{a}",
    "NEXT": "a\u0085b\u2028c",
    "DASH": "- a",
}


def test_job_yaml_loads_to_the_same_job(desk: Desk) -> None:
    job = small(
        env=NASTY,
        train__optimizer__lr=1e-3,
        train__schedule={"target": "mine:falling", "floor": 1e-3},
        log__every="50%",
        resources__time="08:00:00",
    )
    first = prepared(desk, desk.job(job))
    second = prepared(desk, str(first / "job.yaml"))
    assert second.joinpath("job.yaml").read_text() == first.joinpath("job.yaml").read_text()
    assert plan_of(second) == plan_of(first)


def test_job_yaml_has_every_default(desk: Desk) -> None:
    text = (prepared(desk, desk.job(small(retry__lost_after=None))) / "job.yaml").read_text()
    for line in ("keep_last: 2", "evaluate_every: 1 epoch", "timeout: 10m", "lost_after: 8s", "shuffle: true", "nodes: 1"):
        assert line in text


def prepared(desk: Desk, spec: str) -> Path:
    outcome = desk.launch(spec, "--prepare", "--json")
    assert outcome.code == 0, outcome.said
    return Path(outcome.json["path"])


def plan_of(run: Path) -> Any:
    """Less what it remembers of what was `auto`."""
    return {**json.loads((run / "plan.json").read_text()), "resolved": None}


def test_the_newest_checkpoint_of_a_finished_run_is_that_of_its_last_step(finished: Case) -> None:
    assert checkpoints(finished.path)[-1] == "step-00000032"
