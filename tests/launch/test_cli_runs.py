"""Commands that look at runs: which one is meant, status, list, logs, rm, diff."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from launcher.checkpoints import seal
from launcher.cli.root_cause import root_cause
from launcher.errors import UsageError
from launcher.rundir import locked, write_json
from launcher.runs import find_run, runs_folder

RUNS = ["20260101-000000-digits-aaaa", "20260101-120000-mnist-bbbb", "20260102-000000-digits-cccc"]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (RUNS[0], RUNS[0]),
        ("last", RUNS[2]),
        ("digits", RUNS[2]),
        ("mnist", RUNS[1]),
        ("20260101-1", RUNS[1]),
        ("20260102", RUNS[2]),
        (RUNS[1][-10:], RUNS[1]),
        (f"runs/{RUNS[0]}", RUNS[0]),
        (f"runs/{RUNS[0]}/", RUNS[0]),
        (f"./runs/../runs/{RUNS[1]}", RUNS[1]),
    ],
)
def test_a_run_is_meant_by_id_prefix_path_last_or_name(by_hand: Any, text: str, meant: str) -> None:
    for run_id in RUNS:
        by_hand(run_id)
    assert find_run(text, runs_folder()).id == meant


def test_an_ambiguous_prefix_lists_the_candidates(by_hand: Any, launch: Any) -> None:
    for run_id in RUNS:
        by_hand(run_id)
    said = launch("status", "20260101")
    assert said.code == 2
    assert "fits 2 runs" in said.err
    assert RUNS[0] in said.err
    assert RUNS[1] in said.err


@pytest.mark.parametrize(("text", "hint"), [("digts", "'digits'"), ("minst", "'mnist'"), (RUNS[0][:-1] + "x", RUNS[0])])
def test_an_unknown_run_names_the_nearest(by_hand: Any, text: str, hint: str) -> None:
    for run_id in RUNS:
        by_hand(run_id)
    with pytest.raises(UsageError, match="Did you mean") as refused:
        find_run(text, runs_folder())
    assert hint in str(refused.value)


def test_of_runs_of_one_second_the_ledger_tells_the_newest(by_hand: Any) -> None:
    late = {"time": "2026-01-01T00:00:00.900+00:00", "event": "prepared"}
    by_hand("20260101-000000-j-aaaa", ledger=[late])
    by_hand("20260101-000000-j-zzzz", ledger=[{**late, "time": "2026-01-01T00:00:00.100+00:00"}])
    assert find_run("last", runs_folder()).id.endswith("aaaa")


def test_dot_folders_and_files_are_no_runs(by_hand: Any, launch: Any, project: Path) -> None:
    by_hand(RUNS[0])
    (project / "runs/.removed").mkdir()
    (project / "runs/notes.txt").write_text("mine")
    assert [run["id"] for run in launch("list", "--json").json] == [RUNS[0]]


@pytest.mark.parametrize("how", ["--runs", "LAUNCHER_RUNS"])
def test_runs_may_lie_elsewhere(by_hand: Any, launch: Any, project: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    by_hand(RUNS[0])
    shutil.move(project / "runs", project / "elsewhere")
    if how == "LAUNCHER_RUNS":
        monkeypatch.setenv("LAUNCHER_RUNS", "elsewhere")
        assert launch("status", "last", "--json").json["id"] == RUNS[0]
    else:
        assert launch("status", "last", "--runs", "elsewhere", "--json").json["id"] == RUNS[0]


def test_status_as_json_has_what_is_promised(by_hand: Any, launch: Any, done: Any) -> None:
    by_hand("20260101-000000-j-aaaa", ledger=done, rows=[{"step": 24, "val/loss": 0.5}])
    status = launch("status", "--json").json
    promised = {key: status[key] for key in ("id", "name", "state", "reason", "step", "attempts", "backend", "ettr")}
    assert promised == {
        "id": "20260101-000000-j-aaaa", "name": "j", "state": "done", "reason": None, "step": 24, "attempts": 2,
        "backend": "local", "ettr": 0.7,  # 20 of the first attempt's 40 seconds, and the second's 50, of 100
    }  # fmt: skip
    assert launch("list", "--json").json == [status]


def test_status_of_a_dead_supervisor_says_stopped_and_why(by_hand: Any, launch: Any, done: Any) -> None:
    run = by_hand(ledger=done[:4])
    with locked(run):
        assert launch("status", "--json").json["state"] == "running"
    status = launch("status", "--json").json
    assert (status["state"], status["ettr"]) == ("stopped", 0.0)
    assert "stale lock" in status["reason"]


def test_status_in_words_shows_best_checkpoint_and_what_next(by_hand: Any, launch: Any, done: Any, train: str) -> None:
    rows = [{"step": 12, "val/accuracy": 0.9}, {"step": 24, "val/accuracy": 0.8}]
    run = by_hand(ledger=done, rows=rows, job=train + "checkpoint: {keep_best: val/accuracy}\n")
    for step, row in zip((12, 24), rows, strict=True):
        folder = run.checkpoints / f"step-{step:08}"
        folder.mkdir(parents=True)
        manifest = {"files": {}, "metrics": row}
        write_json(folder / "manifest.json", {**manifest, "seal": seal(manifest)})
    out = launch("status").out
    assert "0.8 (best 0.9 at step 12)" in out
    assert "step-00000024" in out
    assert "step-00000012" in out
    assert "launch eval 20260101-000000-j-aaaa" in out


def test_status_of_a_failed_run_puts_the_root_cause_first(by_hand: Any, launch: Any, done: Any) -> None:
    sentence = "rank 1 on node 0 (here) at step 20: RuntimeError at train.py:7: boom"
    reason = f"{sentence}. all 3 restarts since the last progress are used up"
    run = by_hand(ledger=[*done[:6], {**done[-1], "event": "failed", "reason": reason, "exit_code": 1}])
    write_json(run.failure, {
        "attempt": 1, "node": 0, "host": "here", "rank": 1, "local_rank": 1, "step": 20, "kind": "error",
        "exception": "RuntimeError", "message": "boom", "where": "train.py:7", "signal": None, "exit_code": 1,
        "log_tail": ["Traceback", "RuntimeError: boom"], "details": None, "pulses": 20,
    })  # fmt: skip
    lines = launch("status").out.splitlines()
    assert lines[:4] == [
        "root cause: rank 1 on node 0 (here) failed at step 20", "  RuntimeError: boom", "  at train.py:7", "  exit code 1",
    ]  # fmt: skip
    assert "  not restarted: all 3 restarts since the last progress are used up" in lines
    assert any("launch resume 20260101-000000-j-aaaa" in line for line in lines)


def test_the_end_of_a_log_that_stands_on_the_screen_already_is_left_out(by_hand: Any) -> None:
    run = by_hand()
    failure = {"attempt": 1, "node": 0, "host": "here", "rank": 1, "kind": "exit", "exit_code": 7, "log_tail": ["I give up"]}
    assert "| I give up" in root_cause(run, failure, None, seen=(0,))
    assert "I give up" not in root_cause(run, failure, None, seen=(0, 1))


def test_of_a_script_that_never_pulsed_no_step_is_told(by_hand: Any, launch: Any, done: Any) -> None:
    run = by_hand(
        job="run: {program: [sh]}\n", ledger=[*done[:3], {**done[-1], "event": "failed", "reason": "...", "exit_code": 1}]
    )
    write_json(run.failure, {"attempt": 1, "node": 0, "host": "here", "rank": 1, "step": None, "kind": "signal",
                             "signal": "SIGKILL", "pulses": 0})  # fmt: skip
    assert launch("status").out.splitlines()[0] == "root cause: rank 1 on node 0 (here) failed"


def test_an_error_that_is_a_sentence_is_told_without_a_traceback(by_hand: Any, launch: Any, done: Any) -> None:
    run = by_hand(ledger=[*done[:3], {**done[-1], "event": "failed", "reason": "...", "exit_code": 2}])
    write_json(run.failure, {
        "attempt": 1, "node": 0, "host": "here", "rank": 0, "step": None, "kind": "spec", "exit_code": 2,
        "exception": "WorkerError", "message": "train.model: there is no module 'nets'", "log_tail": ["Traceback"],
    })  # fmt: skip
    assert launch("status").out.splitlines()[:3] == [
        "root cause: rank 0 on node 0 (here) failed before its first step",
        "  train.model: there is no module 'nets'",
        "  what to do: the job itself is wrong: mend it and launch it again",
    ]
    assert "launch resume" not in launch("status").out


def test_list_is_quick_and_newest_first(by_hand: Any, launch: Any, done: Any, project: Path) -> None:
    first = by_hand("20260101-000000-j-aaaa", ledger=done)
    for number in range(1, 1000):
        shutil.copytree(first.path, project / f"runs/20260102-{number:06}-j-aaaa")
    ids = [run["id"] for run in launch("list", "--json").json]
    assert len(ids) == 1000
    assert (ids[0], ids[-1]) == ("20260102-000999-j-aaaa", "20260101-000000-j-aaaa")


def test_list_without_runs_is_an_empty_array(launch: Any) -> None:
    assert launch("list", "--json").json == []
    assert "there are no runs" in launch("list").out


def test_logs_of_one_rank_are_its_bytes(by_hand: Any, launch: Any) -> None:
    by_hand(logs={0: "zero\n", 1: "one\nand ünicode\n"})
    assert launch("logs").out == "zero\n"
    assert launch("logs", "--ranks", "1").out == "one\nand ünicode\n"


def test_a_progress_bar_is_one_line_in_logs_of_many_ranks(by_hand: Any, launch: Any) -> None:
    by_hand(procs=2, logs={0: "\r 50%\r100%\nend\n", 1: "end\n"})
    assert launch("logs", "--ranks", "all").out == "rank 0 | 100%\nranks 0-1 | end\n"


def test_logs_of_many_ranks_are_prefixed_and_folded(by_hand: Any, launch: Any) -> None:
    by_hand(procs=3, logs={0: "start\nonly\nend\n", 1: "start\nend\n", 2: "start\nend\n"})
    assert launch("logs", "--ranks", "all").out == "ranks 0-2 | start\nrank 0 | only\nranks 0-2 | end\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--attempt", "7"], "has no attempt 7: it has 1"),
        (["--ranks", "1"], "There: rank-0.log"),
        (["--ranks", "2"], "no rank 2"),
        (["--follow", "--attempt", "1"], "leave out --attempt"),
    ],
)
def test_logs_that_are_not_there(by_hand: Any, launch: Any, words: list[str], said: str) -> None:
    by_hand(logs={0: "zero\n"})
    answer = launch("logs", *words)
    assert answer.code == 2
    assert said in answer.err


@pytest.mark.parametrize("verb", ["stop", "cancel"])
def test_a_live_run_is_asked_by_a_file(by_hand: Any, launch: Any, done: Any, verb: str) -> None:
    run = by_hand(ledger=done[:4])
    with locked(run):
        assert launch(verb, "last").code == 0
        assert run.request(verb).exists()


@pytest.mark.parametrize("verb", ["stop", "cancel"])
def test_what_does_not_run_cannot_be_stopped(by_hand: Any, launch: Any, done: Any, verb: str) -> None:
    run = by_hand(ledger=done)
    said = launch(verb, "last")
    assert said.code == 2
    assert "is not running: it is done" in said.err
    assert not run.requests.exists()


def test_rm_tells_the_disk_use_and_removes(by_hand: Any, launch: Any, project: Path) -> None:
    run = by_hand()
    (run.path / "big").write_bytes(os.urandom(300_000))
    said = launch("rm", "last", "--yes")
    assert said.code == 0
    assert "kB freed" in said.out
    assert list((project / "runs").iterdir()) == []


def test_rm_of_a_link_removes_what_it_leads_to(by_hand: Any, launch: Any, project: Path) -> None:
    run = by_hand()
    run.path.rename(project / "large")
    run.path.symlink_to(project / "large")
    said = launch("rm", "last", "--yes")
    assert (said.code, said.err) == (0, "")
    assert list((project / "runs").iterdir()) == []
    assert not (project / "large").exists()


def test_rm_asks_and_refuses_without_a_terminal(by_hand: Any, launch: Any) -> None:
    run = by_hand()
    said = launch("rm", "last")
    assert (said.code, run.path.exists()) == (2, True)
    assert "add --yes" in said.err


def test_rm_refuses_a_live_run_and_then_removes_nothing(by_hand: Any, launch: Any) -> None:
    live, other = by_hand(RUNS[0]), by_hand(RUNS[1])
    with locked(live):
        said = launch("rm", RUNS[1], RUNS[0], "--yes")
    assert said.code == 2
    assert f"{RUNS[0]} is live" in said.err
    assert (live.path.exists(), other.path.exists()) == (True, True)


def test_diff_tells_job_code_and_environment_apart(by_hand: Any, launch: Any, train: str) -> None:
    a, b = by_hand(RUNS[0]), by_hand(RUNS[1], job=train.replace("lr: 0.1", "lr: 0.2"))
    for run, commit, torch in ((a, "abc", "2.7"), (b, "def", "2.8")):
        write_json(run.provenance, {"git": {"commit": commit}, "packages": {"torch": torch, "click": "8"}, "python": "3.11"})
    b.diff.write_text("-old\n+new\n")
    found = launch("diff", "digits", "mnist", "--json").json
    assert found["spec"] == [{"what": "train.optimizer.lr", "a": 0.1, "b": 0.2}]
    assert [change["what"] for change in found["code"]] == ["commit", "uncommitted"]
    assert found["environment"] == [{"what": "torch", "a": "2.7", "b": "2.8"}]
    words = launch("diff", "digits", "mnist").out
    assert "  train.optimizer.lr: 0.1 -> 0.2" in words
    assert "+new" in words
    assert json.dumps(launch("diff", "digits", "digits", "--json").json["spec"]) == "[]"


def test_diff_does_not_call_equal_what_is_not_known(by_hand: Any, launch: Any) -> None:
    a, b = by_hand(RUNS[0]), by_hand(RUNS[1])
    for run in (a, b):
        write_json(run.provenance, {"git": None, "packages": {"torch": "2.7"}, "python": "3.11"})
    assert launch("diff", "digits", "mnist", "--json").json["code"] is None
    b.provenance.unlink()
    assert launch("diff", "digits", "mnist").out.splitlines()[-3:] == [
        "code: not known (no git repository)", "", "environment: not known (no provenance.json)",
    ]  # fmt: skip
