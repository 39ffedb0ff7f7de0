"""CONTRACTS.md, "JSON"."""

from __future__ import annotations

import json

import pytest
from tests.contracts.conftest import Case, Desk, rows, script_job, small

STATUS = {"id", "name", "state", "reason", "step", "attempts", "backend", "ettr"}


def test_status(finished: Case) -> None:
    told = finished.desk.status("last")
    assert told.keys() >= STATUS
    shown = {key: told[key] for key in STATUS - {"ettr"}}
    assert shown == {"id": finished.path.name, "name": "digits", "state": "done", "reason": None, "step": 32, "attempts": 1, "backend": "local"}
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


def test_eval_takes_the_checkpoint_that_is_named(desk: Desk) -> None:
    job = small(train__data__val={"target": "mine:Numbers", "samples": 20}, train__evaluate_every="5 steps")
    assert desk.launch(desk.job(job)).code == 0
    evaluated = {row["step"]: row["val/loss"] for row in rows(desk.run()) if "val/loss" in row}
    for step, option in ((5, ["--checkpoint", "step-00000010"]), (12, [])):
        step = 10 if option else step
        outcome = desk.launch("eval", "last", "--split", "val", "--json", *option)
        assert outcome.json["val/loss"] == pytest.approx(evaluated[step], rel=1e-5)


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


def test_a_failed_run_still_answers_in_json(desk: Desk) -> None:
    desk.write("own.py", "raise SystemExit(3)\n")
    outcome = desk.launch(desk.job(script_job()), "--json")
    assert (outcome.code, outcome.json["state"]) == (1, "failed")


def test_a_mistake_leaves_stdout_empty_or_json(desk: Desk) -> None:
    outcome = desk.launch(desk.job({"nonsense": 1}), "--json")
    assert outcome.code == 2
    assert not outcome.out or outcome.json
    assert "nonsense" in outcome.said
