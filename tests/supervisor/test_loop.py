"""The supervisor over agents that behave: what it decides, and what the ledger and failure.json then say."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from launcher import backends
from launcher.errors import BackendError, UsageError
from launcher.events import summarize
from launcher.rundir import RunDir, json_lines, locked, owner, read_json
from launcher.supervisor import attempt as attempts
from launcher.supervisor import cause, ending, exits, supervise
from tests.patience import PATIENCE_S

Scripted = Callable[..., RunDir]
DONE = {"exits": [[0.02, 0, 0], [0.03, 1, 0]]}
ALONE = {"exits": [[0.02, 0, 0]]}


def events(run: RunDir) -> list[str]:
    return [entry["event"] for entry in json_lines(run.events)]


def when(run: RunDir, event: str, act: Callable[[], Any]) -> threading.Thread:
    """Does something as soon as the ledger holds the event."""

    def wait() -> None:
        while event not in events(run):
            time.sleep(0.01)
        time.sleep(0.05)
        act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_all_ranks_end_well(scripted: Scripted) -> None:
    run = scripted({"1": DONE})
    outcome = supervise(run)
    assert (outcome.state, outcome.exit_code) == ("done", 0)
    assert events(run) == ["prepared", "supervising", "attempt", "running", "done"]
    assert not run.failure.exists()


def test_an_agent_that_ends_before_its_first_word_is_tried_again_and_its_last_words_are_kept(
    scripted: Scripted, capfd: pytest.CaptureFixture[str]
) -> None:
    run = scripted({"stillborn": 1, "2": DONE})
    assert supervise(run).state == "done"
    failure = next(entry for entry in json_lines(run.events) if entry["event"] == "failure")
    assert (failure["kind"], failure["node"]) == ("agent", 1)
    assert f"before its first word: no module named launcher (see {run.agents_log})" in failure["reason"]
    assert "with a new agent on node 1" in failure["reason"]
    assert run.agents_log.read_text() == "no module named launcher\n"
    assert "".join(capfd.readouterr()) == ""


def test_a_lock_that_was_deleted_is_made_anew(scripted: Scripted, tmp_path: Path) -> None:
    run = scripted({"1": {"exits": [["go", 0, 0], ["go", 1, 0]]}})
    refused: list[bool] = []

    def delete_and_ask() -> None:
        run.lock.unlink()
        until = time.monotonic() + PATIENCE_S
        while owner(run) is None and time.monotonic() < until:
            time.sleep(0.05)
        refused.append(owner(run) is not None)
        (tmp_path / "go").touch()

    deleting = when(run, "running", delete_and_ask)
    assert supervise(run).state == "done"
    deleting.join()
    assert refused == [True]
    assert owner(run) is None


def test_an_attempt_whose_logs_were_deleted_lends_its_number_to_no_other(scripted: Scripted, tmp_path: Path) -> None:
    run = scripted({"1": {"exits": [["go", 1, -9]], "step": 7}, "2": DONE})

    def delete() -> None:
        shutil.rmtree(run.logs)
        (tmp_path / "go").touch()

    deleting = when(run, "running", delete)
    assert supervise(run).state == "done"
    deleting.join()
    assert [entry["attempt"] for entry in json_lines(run.events) if entry["event"] == "attempt"] == [1, 2]


def test_a_killed_rank_is_restarted_and_named(scripted: Scripted) -> None:
    run = scripted({"1": {"exits": [[0.02, 1, -9]], "step": 7}, "2": DONE})
    outcome = supervise(run)
    assert outcome.state == "done"
    failure = read_json(run.failure)
    assert (failure["rank"], failure["node"], failure["host"], failure["signal"], failure["exit_code"], failure["step"]) == (
        1, 1, "host1", "SIGKILL", None, 7)  # fmt: skip
    reason = next(entry["reason"] for entry in json_lines(run.events) if entry["event"] == "failure")
    assert reason == "rank 1 on node 1 (host1) at step 7: killed by SIGKILL. restart 1 of 3 since the last progress"


def test_the_first_cause_is_blamed_and_not_its_echo(scripted: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The echo is told first, and only then does the rank end that it speaks of."""
    monkeypatch.setattr(attempts, "COLLECT_ECHOES_S", PATIENCE_S)
    hear = attempts.Attempt.hear

    def end_the_other(attempt: attempts.Attempt, agent: int, message: Mapping[str, Any]) -> None:
        hear(attempt, agent, message)
        if message["kind"] == "exited":  # later than failures of one moment are
            threading.Timer(10 * exits.COLLECT_S, (tmp_path / "cause").touch).start()

    monkeypatch.setattr(attempts.Attempt, "hear", end_the_other)
    run = scripted({"1": {"exits": [["echo", 0, 1], ["cause", 1, 1]], "step": 3}, "2": DONE})
    errors = {
        0: {"exception": "RuntimeError", "message": "Connection closed by peer [127.0.0.1]:4242", "kind": "error"},
        1: {"exception": "ValueError", "message": "bad pixel", "where": "/home/me/train.py:12", "kind": "error", "step": 3},
    }

    def fail() -> None:
        for rank, error in errors.items():
            run.rank_error(1, rank).write_text(json.dumps(error))
        (tmp_path / "echo").touch()

    when(run, "attempt", fail)  # the supervisor has made the attempt's folder then
    supervise(run)
    failure = read_json(run.failure)
    assert (failure["rank"], failure["exception"], failure["where"]) == (1, "ValueError", "/home/me/train.py:12")


def test_a_users_error_before_the_first_step_is_not_retried(scripted: Scripted) -> None:
    run = scripted({"1": {"exits": [[0.02, 0, 3]]}})
    outcome = supervise(run)
    assert (outcome.state, outcome.exit_code) == ("failed", 1)
    assert "before any launcher.pulse" in (outcome.reason or "")
    assert read_json(run.failure)["exit_code"] == 3


def test_a_script_has_taken_its_first_step_once_any_rank_pulsed(scripted: Scripted) -> None:
    run = scripted({"1": {"exits": [[0.02, 1, 3]], "step": 5, "teller": 0}, "2": DONE})
    assert supervise(run).state == "done"
    assert read_json(run.failure)["step"] is None, "not told by the rank that failed"


def test_a_script_makes_progress_by_the_steps_of_any_rank(scripted: Scripted) -> None:
    killed = {attempt: {"exits": [[0.02, 1, -9]], "step": 9 * attempt, "teller": 0} for attempt in range(1, 5)}
    run = scripted({**{str(attempt): each for attempt, each in killed.items()}, "5": DONE}, retry={"max_restarts": 1})
    assert supervise(run).state == "done"
    assert [entry["step"] for entry in json_lines(run.events) if entry["event"] == "failure"] == [9, 18, 27, 36]


def test_restarts_are_limited(scripted: Scripted) -> None:
    run = scripted({str(attempt): {"exits": [[0.02, 0, -9]]} for attempt in range(1, 6)}, retry={"max_restarts": 2})
    outcome = supervise(run)
    assert (outcome.state, outcome.exit_code) == ("failed", 1)
    assert "all 2 restarts since the last progress are used up" in (outcome.reason or "")
    assert summarize(run).attempts == 3
    assert sorted(path.name for path in run.logs.glob("attempt-*")) == ["attempt-1", "attempt-2", "attempt-3"]
    assert read_json(run.attempt(2) / "failure.json")["attempt"] == 2


def test_a_dead_agent_is_replaced(scripted: Scripted) -> None:
    run = scripted({"1": {"die": 0.05, "node": 1}, "2": DONE})
    outcome = supervise(run)
    assert outcome.state == "done"
    failure = read_json(run.failure)
    assert (failure["kind"], failure["node"], failure["rank"]) == ("agent", 1, None)


def test_a_silent_agent_is_lost(scripted: Scripted) -> None:
    run = scripted({"1": {"mute": 0.05, "node": 0}, **dict.fromkeys("234", DONE)}, retry={"lost_after": "6s"})
    assert supervise(run).state == "done"
    assert "nothing heard of it for 6 s" in read_json(run.failure)["message"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGHUP, 75)])
def test_a_signal_saves_and_stops(scripted: Scripted, number: signal.Signals, code: int) -> None:
    run = scripted({})
    when(run, "running", lambda: os.kill(os.getpid(), number))
    outcome = supervise(run)
    assert (outcome.state, outcome.exit_code, outcome.reason) == ("stopped", code, "saved, can be continued")


@pytest.mark.parametrize("backend", ["local", pytest.param("slurm", marks=pytest.mark.long)])
def test_agents_that_die_again_and_again_are_given_up(scripted: Scripted, monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    dying = {str(attempt): {"die": 0.02, "node": 1} for attempt in range(1, 30)}
    run = scripted(dying, retry={"max_restarts": 3, "lost_after": "1s"}, resources={"nodes": 2})
    if backend != "local":
        run.plan.write_text(run.plan.read_text().replace('"backend": "local"', f'"backend": "{backend}"'))
        monkeypatch.setitem(backends.BACKENDS, backend, backends.BACKENDS["local"])
    outcome = supervise(run)
    assert (outcome.state, summarize(run).attempts) == ("failed", 4)


def test_a_training_stopped_before_it_saved_anything_says_so(scripted: Scripted) -> None:
    data = {"train": "digits", "batch_size": 8}
    train = {"model": "my.net", "loss": "mse", "optimizer": "sgd", "max_steps": 5, "data": data}
    run = scripted({}, run=None, train=train)
    when(run, "attempt", lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert supervise(run).reason == "before its first step: there was nothing to save, and resume begins anew"


def test_a_script_that_ends_well_after_a_stop_counts_as_stopped(scripted: Scripted) -> None:
    run = scripted({"saved": 0})
    when(run, "running", lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert supervise(run).exit_code == 75


def test_a_second_ctrl_c_ends_it_at_once(scripted: Scripted) -> None:
    run = scripted({"deaf": True})
    for event in ("running", "stopping"):
        when(run, event, lambda: os.kill(os.getpid(), signal.SIGINT))
    assert supervise(run).exit_code == 130


@pytest.mark.parametrize("second", [signal.SIGHUP, signal.SIGTERM])
def test_signals_of_one_moment_are_one_wish(scripted: Scripted, monkeypatch: pytest.MonkeyPatch, second: signal.Signals) -> None:
    """Both come before the loop looks at either."""
    monkeypatch.setattr(ending, "AGAIN_S", PATIENCE_S)
    hear = attempts.Attempt.hear

    def torn_down(attempt: attempts.Attempt, agent: int, message: Mapping[str, Any]) -> None:
        hear(attempt, agent, message)
        if message["kind"] == "started" and agent == 0:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), second)

    monkeypatch.setattr(attempts.Attempt, "hear", torn_down)
    run = scripted({"slow": 0.3})
    outcome = supervise(run)
    assert (outcome.exit_code, outcome.reason) == (75, "saved, can be continued")


def test_ranks_that_are_not_gone_in_time_take_their_agent_with_them(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "END_WITHIN_S", 0.3)
    run = scripted({"1": {"exits": [[0.02, 1, -9]], "unkillable": [0]}, "2": DONE})
    assert supervise(run).state == "done"


def test_a_stop_that_meets_a_machines_failure_can_be_continued(scripted: Scripted) -> None:
    run = scripted({"deaf": True, "dies_of_stop": 1})
    when(run, "running", lambda: os.kill(os.getpid(), signal.SIGTERM))
    outcome = supervise(run)
    assert (outcome.state, outcome.exit_code) == ("stopped", 75)
    assert "the agent of node 1 was lost" in (outcome.reason or "")


def test_a_stop_that_meets_only_the_echo_of_another_ranks_end_can_be_continued(scripted: Scripted) -> None:
    run = scripted({"saved": 1})
    error = {"exception": "RuntimeError", "message": "Connection closed by peer [127.0.0.1]:4242", "kind": "error"}

    def stop() -> None:
        for rank in range(2):
            run.rank_error(1, rank).write_text(json.dumps(error))
        os.kill(os.getpid(), signal.SIGTERM)

    when(run, "running", stop)
    outcome = supervise(run)
    assert (outcome.state, outcome.exit_code) == ("stopped", 75)
    assert "what its ranks saved is not known: rank " in (outcome.reason or "")


def test_a_users_error_while_it_stops_is_a_failure(scripted: Scripted) -> None:
    run = scripted({"saved": 1})
    when(run, "running", lambda: os.kill(os.getpid(), signal.SIGTERM))
    outcome = supervise(run)
    assert (outcome.state, outcome.exit_code) == ("failed", 1)


def test_all_nodes_learn_that_a_rank_asks_whether_to_stop(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM comes as soon as node 1 has told that its rank asks: the first node's start alone is "running"."""
    hear = attempts.Attempt.hear

    def terminate_when_asked(attempt: attempts.Attempt, agent: int, message: Mapping[str, Any]) -> None:
        hear(attempt, agent, message)
        if message.get("asks"):
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(attempts.Attempt, "hear", terminate_when_asked)
    run = scripted({"asks": 1, "saved": 0})
    assert supervise(run).reason == "saved, can be continued"


def test_a_node_whose_ranks_have_ended_well_may_go(scripted: Scripted, tmp_path: Path) -> None:
    run = scripted({"1": {"exits": [[0.02, 1, 0], ["go", 0, 0]], "die": 0.3, "node": 1}})
    when(run, "note", (tmp_path / "go").touch)
    assert supervise(run).state == "done"
    told = [entry for entry in json_lines(run.events) if entry["event"] in ("attempt", "note")]
    assert [entry["event"] for entry in told] == ["attempt", "note"]
    assert "node 1 (host1), whose ranks had ended, is lost" in told[1]["reason"]


def test_the_node_with_the_store_may_not_go_while_ranks_are_left(scripted: Scripted) -> None:
    run = scripted({"1": {"exits": [[0.02, 0, 0]], "die": 0.3, "node": 0}, "2": DONE})
    assert supervise(run).state == "done"
    assert "the agent of node 0 was lost" in next(each["reason"] for each in json_lines(run.events) if each["event"] == "failure")


def test_ranks_that_ended_well_are_done_though_their_node_cannot_be_swept(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "END_WITHIN_S", 0.3)
    run = scripted({"1": DONE, "unswept": [1]})
    assert supervise(run).state == "done"
    assert events(run).count("attempt") == 1


def test_the_end_of_an_agent_is_not_told_to_the_next_attempt(scripted: Scripted) -> None:
    run = scripted(
        {"1": {"exits": [[0.02, 1, 1]], "step": 7, "lingers": 0.03, "node": 1}, "2": {"exits": [[2.0, 0, 0], [2.0, 1, 0]]}}
    )
    assert supervise(run).state == "done"
    assert events(run).count("attempt") == 2


def test_a_terminal_that_stands_still_holds_up_nothing(scripted: Scripted) -> None:
    run = scripted({"1": DONE})
    released = threading.Event()
    in_time: list[bool] = []
    when(run, "done", released.set)
    assert supervise(run, screen=lambda: in_time.append(released.wait(PATIENCE_S))).state == "done"
    assert in_time[0]


def test_a_stop_that_is_asked_for_while_the_holder_still_prepares_is_heard(scripted: Scripted) -> None:
    run = scripted({"1": {}})
    with locked(run):
        run.requests.mkdir()
        run.request("stop").touch()
        assert supervise(run, holding=True).state == "stopped"


def test_what_was_asked_of_the_holder_before_is_forgotten(scripted: Scripted) -> None:
    run = scripted({"1": DONE})
    run.requests.mkdir()
    run.request("stop").touch()
    assert supervise(run).state == "done"


def test_an_environment_that_is_wrong_is_the_end_of_the_run(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    run = scripted({"1": DONE})

    def refuse(*_: Any) -> None:
        raise BackendError("there is no apptainer here")

    monkeypatch.setattr(backends.BACKENDS["local"], "start_agents", refuse)
    with pytest.raises(BackendError):
        supervise(run)
    summary = summarize(run)
    assert (summary.state, summary.reason) == ("failed", "there is no apptainer here")


def test_a_terminal_that_goes_ends_nothing_under_nohup(scripted: Scripted) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        run = scripted({"1": {"exits": [[0.5, 0, 0], [0.5, 1, 0]]}})
        hanging_up = when(run, "running", lambda: os.kill(os.getpid(), signal.SIGHUP))
        assert supervise(run).state == "done"
        hanging_up.join()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_full_disk_is_said_in_a_sentence(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    run = scripted({"1": {"exits": [[0.02, 0, -9]]}})

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cause, "keep", full)
    with pytest.raises(BackendError, match=r"No space left on device.*launch resume"):
        supervise(run)


@pytest.mark.parametrize(("request_", "state", "code"), [("stop", "stopped", 75), ("cancel", "cancelled", 130)])
def test_requests_are_files(scripted: Scripted, request_: str, state: str, code: int) -> None:
    run = scripted({})

    def ask() -> None:
        run.requests.mkdir(exist_ok=True)
        run.request(request_).touch()

    when(run, "running", ask)
    outcome = supervise(run)
    assert (outcome.state, outcome.exit_code) == (state, code)
    assert not run.request(request_).exists()


def test_a_run_has_one_supervisor(scripted: Scripted) -> None:
    run = scripted({})
    with locked(run), pytest.raises(UsageError, match=f"process {os.getpid()} on"):
        supervise(run)


def test_a_late_message_of_an_earlier_attempt_is_ignored(scripted: Scripted, tmp_path: Path) -> None:
    run = scripted({"1": {"exits": [[0.02, 0, -9], [0.02, 1, -9]]}, "2": {"exits": [[0.2, 0, 0], [0.2, 1, 0]]}})
    assert supervise(run).state == "done"
    assert summarize(run).attempts == 2


def test_a_silent_node_is_replaced_by_a_spare(scripted: Scripted) -> None:
    run = scripted({"1": {"mute": 0.05, "node": 0}, **dict.fromkeys("234", ALONE)}, resources={"nodes": 1, "spares": 1},
                   retry={"lost_after": "6s"})  # fmt: skip
    assert supervise(run).state == "done"
    assert "host1 takes the place of host0" in next(
        each["reason"] for each in json_lines(run.events) if each["event"] == "failure"
    )


def test_with_a_range_of_nodes_a_silent_one_is_left_out(scripted: Scripted) -> None:
    run = scripted({"1": {"mute": 0.05, "node": 1}, **dict.fromkeys("234", ALONE)}, resources={"nodes": {"min": 1, "max": 2}},
                   retry={"lost_after": "6s"})  # fmt: skip
    assert supervise(run).state == "done"
    assert [(each["world_size"], each["nodes"]) for each in json_lines(run.events) if each["event"] == "attempt"] == [
        (2, 2),
        (1, 1),
    ]


def test_a_lost_spare_disturbs_nobody(scripted: Scripted, tmp_path: Path) -> None:
    """It is never told to start: what happens to it is attempt 0's."""
    run = scripted(
        {"0": {"die": "lost", "node": 1}, "1": {"exits": [["go", 0, 0]]}, "2": ALONE}, resources={"nodes": 1, "spares": 1}
    )
    when(run, "running", (tmp_path / "lost").touch)
    when(run, "note", (tmp_path / "go").touch)
    assert supervise(run).state == "done"
    assert [event for event in events(run) if event in ("attempt", "note", "failure")] == ["attempt", "note"]
    reason = next(entry["reason"] for entry in json_lines(run.events) if entry["event"] == "note")
    assert reason.startswith("node 1 (host1), which was idle, is lost: ")


def test_a_supervisor_that_was_overtaken_ends_without_a_word(scripted: Scripted) -> None:
    run = scripted({})
    when(run, "running", lambda: run.attempt(2).mkdir())
    assert supervise(run).reason == "a newer attempt of this run has begun elsewhere"
    assert events(run)[-1] == "running"
