"""CONTRACTS.md, "JSON"."""

from __future__ import annotations

import json

import pytest

from tests.contracts.conftest import Case, Desk, rows, script_job

STATUS = {"id", "name", "state", "reason", "step", "attempts", "backend", "ettr"}


def test_status(finished: Case) -> None:
    told = finished.desk.status("last")
    assert told.keys() >= STATUS
    shown = {key: told[key] for key in STATUS - {"ettr"}}
    assert shown == {
        "id": finished.path.name,
        "name": "digits",
        "state": "done",
        "reason": None,
        "step": 32,
        "attempts": 1,
        "backend": "local",
    }
    assert 0 <= told["ettr"] <= 1


def test_list_is_an_array_of_these(finished: Case) -> None:
    assert finished.desk.launch("list", "--json").json == [finished.desk.status("last")]


def test_list_of_no_runs_is_an_empty_array(desk: Desk) -> None:
    assert desk.launch("list", "--json").json == []


def test_eval_takes_the_best_checkpoint_where_keep_best_is_set(finished: Case) -> None:
    told = finished.desk.launch("eval", "last", "--split", "val", "--json").json
    best = min((row for row in rows(finished.path) if "val/loss" in row), key=lambda row: row["val/loss"])
    assert set(told) == {"val/loss", "val/accuracy"}
    assert told["val/loss"] == pytest.approx(best["val/loss"], rel=1e-5)
    assert told["val/accuracy"] == pytest.approx(best["val/accuracy"])


def test_eval_takes_the_checkpoint_that_is_named_and_makes_no_run(finished: Case) -> None:
    outcome = finished.desk.launch("eval", "last", "--split", "val", "--json", "--checkpoint", "step-00000032")
    assert outcome.json["val/loss"] == pytest.approx(rows(finished.path)[-1]["val/loss"], rel=1e-5)
    assert finished.desk.runs() == [finished.path]


def test_eval_of_a_checkpoint_that_is_not_there_is_a_mistake_of_the_command_line(finished: Case) -> None:
    outcome = finished.desk.launch("eval", "last", "--checkpoint", "step-00000001", "--json")
    assert (outcome.code, outcome.out) == (2, "")
    assert "step-00000001" in outcome.err


def test_eval_of_a_split_that_the_job_lacks_is_a_mistake_of_the_command_line(stopped: Case) -> None:
    outcome = stopped.desk.launch("eval", "last", "--split", "test", "--json")
    assert (outcome.code, outcome.out) == (2, "")


def test_stdout_holds_json_alone_while_the_ranks_print(desk: Desk) -> None:
    desk.write("own.py", "import sys\nprint('to stdout', flush=True)\nprint('to stderr', file=sys.stderr)\n")
    outcome = desk.launch(desk.job(script_job()), "--json")
    assert outcome.code == 0, outcome.said
    assert outcome.json["state"] == "done"
    assert json.loads(outcome.out).keys() >= STATUS
    assert "to stdout" in outcome.err
    for verb in (["diff", "last", "last"], ["status"], ["list"]):
        assert desk.launch(*verb, "--json").json is not None


@pytest.mark.parametrize(
    "command",
    ["validate job.yaml", "explain train", "explain", "schema", "job.yaml --dry-run", "job.yaml --prepare", "job.yaml --detach"],
)
def test_every_command_that_reports_does_it_in_json_alone(desk: Desk, command: str) -> None:
    desk.job(script_job(run={"program": ["true"]}, env={"SOME_KEY": "abc"}, resources={"time": "1h", "threads": 1}))
    outcome = desk.launch(*command.split(), *([] if command == "schema" else ["--json"]))
    assert outcome.code == 0, outcome.said
    assert outcome.json


def test_a_failed_run_still_answers_in_json(desk: Desk) -> None:
    desk.write("own.py", "raise SystemExit(3)\n")
    outcome = desk.launch(desk.job(script_job()), "--json")
    assert (outcome.code, outcome.json["state"]) == (1, "failed")


def test_a_mistake_leaves_stdout_empty_or_json(desk: Desk) -> None:
    outcome = desk.launch(desk.job({"nonsense": 1}), "--json")
    assert outcome.code == 2
    assert not outcome.out or outcome.json
    assert "nonsense" in outcome.said
