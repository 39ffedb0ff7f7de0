"""What the queue says, in the words of several versions, and how a run stands by it."""

from __future__ import annotations

import json
import socket
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from launcher.agent import batch_host
from launcher.backends import QUEUES
from launcher.backends.slurm import again, array, partitions, standing, start_agents
from launcher.backends.slurm.queue import asked, read_json, read_text
from launcher.backends.waiting import Waiting
from launcher.errors import BackendError, UsageError
from launcher.events import Summary, record
from launcher.load import parse_job
from launcher.rundir import RunDir
from launcher.standing import by_queue, refuse_busy
from launcher.standing import standing as standing_of
from tests.patience import PATIENCE_S

RECORDED = Path(__file__).parents[1] / "golden" / "squeue"


def test_squeue_of_22_05() -> None:
    found = read_json(json.loads((RECORDED / "22.05.json").read_text()))
    assert found == read_text((RECORDED / "22.05.txt").read_text())
    assert found["17"] == Waiting(number="17", state="PENDING", reason="Resources")
    assert found["16"] == Waiting(number="16", state="RUNNING", host="n1")
    assert {job.reason for job in found.values() if job.waits} == {"Resources", "Priority", "Dependency", "PartitionNodeLimit"}


def test_squeue_of_24_11() -> None:
    found = read_json(json.loads((RECORDED / "24.11.json").read_text()))
    assert found["101"] == Waiting(number="101", state="PENDING", reason="Resources")
    assert [number for number, job in found.items() if job.runs] == ["102", "103"]
    assert [number for number, job in found.items() if job.waits] == ["101", "105"]
    assert (found["104"].state, found["104"].reason) == ("TIMEOUT", "TimeLimit")


def test_squeue_that_ends_well_without_a_controller() -> None:
    with pytest.raises(BackendError, match=r"Failed while looking for jobs: Slurm's controller does not answer"):
        read_json({"errors": [{"description": "Failed while looking for jobs", "error_number": -1}], "jobs": []})


SLURM_LOW = parse_job("run: {program: [x]}\nresources: {slurm: {partition: low}}\n", "job.yaml").resources.slurm


def array_job(number: int, task: int | None, tasks: str, state: str, wrapped: bool) -> dict[str, object]:
    """As squeue --json has it: numbers are wrapped since 23.02."""
    ids = {"array_job_id": 40, "array_task_id": task}
    if wrapped:
        ids = {name: {"set": value is not None, "infinite": False, "number": value or 0} for name, value in ids.items()}
    return {"job_id": number, "job_state": [state] if wrapped else state, "batch_host": "n1", "array_task_string": tasks, **ids}


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_array_stands_under_its_own_number_too(wrapped: bool) -> None:
    tasks = [(40, None, "4-8%2", "PENDING"), (41, 1, "", "FAILED"), (42, 2, "", "RUNNING"), (43, 3, "", "COMPLETED")]
    found = read_json({"jobs": [array_job(*each, wrapped) for each in tasks]})
    assert {number: job.state for number, job in found.items()} == {
        "40_[4-8%2]": "PENDING", "40_1": "FAILED", "40_2": "RUNNING", "40_3": "COMPLETED", "40": "RUNNING",
    }  # fmt: skip
    assert found["40"].host is None
    text = "40_[4-8%2]|PENDING|JobArrayTaskLimit|n/a\n40_1|FAILED|None|n1\n40_3|COMPLETED|None|n1\n"
    assert read_text(text)["40"].waits
    assert read_text(text.replace("PENDING", "CANCELLED"))["40"].state in ("CANCELLED", "FAILED", "COMPLETED")


@pytest.mark.parametrize(
    ("slurm", "gpus", "count"),
    [
        ("{}", "gpu:8", 3),
        ("{gpus_per_node: 2}", "gpu:8(S:0-1)", 12),
        ("{gpus_per_node: 2}", "gpu:a100:4(S:0),gpu:h100:4(S:1),shard:9", 12),
        ("{gpus_per_node: 2, cpus_per_proc: 8}", "gpu:a100:8", 12),
        ("{cpus_per_proc: 8}", "(null)", 24),
        ("{cpus_per_proc: 100}", "(null)", 3),
    ],
)
def test_trainings_beside_each_other_by_what_they_ask_of_a_node(
    slurm: str, gpus: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f"n{node}|64|{gpus}|{name}|{state}\n" for node, state in enumerate(("idle", "mixed", "allocated", "down*", "drained"))
            for name in ("main*", "low")] + [f"n9|64|{gpus}|low|idle\n"]  # fmt: skip
    monkeypatch.setattr(array, "slurm", lambda *_: "".join(rows))
    job = parse_job(f"run: {{program: [./train]}}\nresources: {{slurm: {slurm}}}\n", "job.yaml")
    assert array.at_a_time(job) == count
    two = job.model_copy(update={"resources": job.resources.model_copy(update={"nodes": 2})})
    assert array.at_a_time(two) == 1
    low = job.model_copy(update={"resources": job.resources.model_copy(update={"nodes": 4, "slurm": SLURM_LOW})})
    assert array.at_a_time(low) == 1


def test_tasks_stand_by_as_far_as_a_site_allows() -> None:
    assert [array.tasks(count) for count in (1, 3, 300, 2000)] == [4, 12, 1000, 2000]


JOBS = {
    "1": Waiting(number="1", state="PENDING", reason="Priority"),
    "2": Waiting(number="2", state="RUNNING", host="n1"),
    "3": Waiting(number="3", state="NODE_FAIL", reason="NodeDown"),
    "4": Waiting(number="4", state="PENDING", reason="Dependency"),
}


@pytest.mark.parametrize(
    ("told", "state", "job", "says"),
    [
        (Summary(state="queued", job="1"), "queued", "1", "job 1 waits: Priority"),
        (Summary(state="queued", job="1", reason="preempted: saved"), "queued", "1", "job 1 waits: Priority; preempted: saved"),
        (Summary(state="queued", job="2"), "starting", "2", "job 2 has begun on n1"),
        (Summary(state="queued", job="3"), "stopped", "3", "job 3 ended as NODE_FAIL (NodeDown) without a word"),
        (
            Summary(state="queued", job="9"),
            "stopped",
            "9",
            "job 9 is no longer in the queue, and left no word, and nothing follows",
        ),
        (Summary(state="running", job="2"), "running", "2", ""),
        (Summary(state="running", job="2", successor="4"), "running", "2", ""),
        (Summary(state="running", job="3", successor="4"), "queued", "4", "job 4 waits: Dependency"),
        (Summary(state="running", job="3", successor="2"), "starting", "2", "job 2 goes on with it on n1"),
        (Summary(state="running", job="3"), "stopped", "3", "launch resume"),
    ],
)
def test_run_stands_as_its_ledger_and_the_queue_say(told: Summary, state: str, job: str, says: str) -> None:
    now = by_queue(told, JOBS)
    assert (now.state, now.job) == (state, job)
    assert says in (now.reason or "")


@pytest.mark.parametrize(("successor", "state", "says"), [
    (None, "stopped", "n1 is dead, and nothing follows: continue with launch resume"),
    ("4", "queued", "job 4 waits: Dependency; n1 is dead"),
])  # fmt: skip
def test_supervisor_that_died_is_not_believed_alive_by_its_allocation(successor: str | None, state: str, says: str) -> None:
    now = by_queue(Summary(state="running", job="2", successor=successor), JOBS, died="n1 is dead")
    assert (now.state, now.reason) == (state, says)


@pytest.mark.parametrize(("host", "refused"), [(socket.gethostname(), False), ("another", True)])
def test_a_run_whose_supervisor_died_in_an_allocation_is_gone_on_with_where_its_lock_is_seen(
    host: str, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QUEUES["slurm"], "waiting", lambda users: JOBS)
    monkeypatch.setattr(QUEUES["slurm"], "dead_hosts", dict)
    run = RunDir(tmp_path)
    record(run, "supervising", backend="slurm", host=host, job="2")
    record(run, "running", attempt=1)
    with pytest.raises(UsageError, match="is running as job 2") if refused else nullcontext():
        refuse_busy(run, holding=True)
    assert (standing_of(run).state, standing_of(run).job) == (("running", "2") if refused else ("stopped", "2"))


SINFO = "main*|0/4/0/4|infinite|up|OFF\nshort|0/2/0/2|5:00|up|OFF\nbig|0/16/0/16|2-00:00:00|down|OFF\n"


@pytest.mark.parametrize(
    ("resources", "says"),
    [
        (
            "{nodes: 9}",
            "asks for 9 nodes, and it would wait for ever: main (4 nodes, no time limit). Large enough: big (16 nodes",
        ),
        ("{nodes: 17}", "No partition has as many"),
        ("{nodes: 4, spares: 1}", "5 nodes (1 of them spare)"),
        ("{slurm: {partition: shrt}}", "there is no partition 'shrt'. Did you mean 'short'?"),
        ("{time: 6m, slurm: {partition: short}}", "resources.time is 6m"),
    ],
)
def test_what_can_never_run_is_refused_with_what_there_is(resources: str, says: str) -> None:
    job = parse_job(f"run: {{program: [x]}}\nresources: {resources}\n")
    with pytest.raises(BackendError) as refused:
        partitions.fitting(job, list(partitions.read(SINFO)))
    assert says in str(refused.value)


@pytest.mark.parametrize(
    "resources", ["{nodes: 4}", "{nodes: {min: 4, max: 9}}", "{time: 5m, slurm: {partition: short}}", "{time: 9d}",
                  "{time: 6m, slurm: {partition: 'short,big'}}"],
)  # fmt: skip
def test_what_can_run_is_let_through(resources: str) -> None:
    partitions.fitting(parse_job(f"run: {{program: [x]}}\nresources: {resources}\n"), list(partitions.read(SINFO)))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5:00", 300), ("1:00:00", 3600), ("2-01:00:00", 176_400), ("infinite", None), ("n/a", None), ("90", 90)],
)
def test_time_limits_of_sinfo(text: str, seconds: float | None) -> None:
    assert partitions.seconds(text) == seconds


HABITS = {"SLURM_TIME_FORMAT": "relative", "SQUEUE_PARTITION": "high", "SQUEUE_FORMAT2": "JobID", "SINFO_SORT": "N",
          "SCONTROL_LOCAL": "1", "SCANCEL_STATE": "PENDING"}  # fmt: skip
NEEDED = {"SLURM_CONF": "/etc/slurm.conf", "SLURM_JOB_ID": "7", "SQUEUE_ALL": "1", "SBATCH_PARTITION": "low"}


@pytest.fixture
def habits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A user's, in the environment; a folder for commands that stand in for Slurm's."""
    for name, value in {**HABITS, **NEEDED, "PATH": f"{tmp_path}:/usr/bin:/bin"}.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def command(folder: Path, name: str, does: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{does}\n")
    (folder / name).chmod(0o755)


def test_a_users_habits_do_not_reach_commands_whose_words_are_read(habits: Path) -> None:
    assert asked(("printenv", *HABITS)).stdout == ""
    assert asked(("printenv", *NEEDED)).stdout.split() == list(NEEDED.values())
    command(
        habits,
        "scontrol",
        """[ -n "$SLURM_TIME_FORMAT" ] && day= || day=2026-11-29T
        echo "JobId=7 JobState=RUNNING TimeLimit=00:10:00 StartTime=${day}13:31:47 EndTime=${day}13:41:47" """,
    )
    found = standing("7")
    assert found.ends is not None
    assert found.began is not None
    assert found.ends - found.began == 600


def test_ranks_have_the_users_habits_and_what_asks_beside_an_agent_has_none_that_matter(habits: Path) -> None:
    plan: Any = SimpleNamespace(carrier=("sh", "-c", f"printenv {' '.join([*HABITS, *NEEDED])}", "srun"))
    node: Any = SimpleNamespace(index=0, host="n1", argv=("agent", "--id", "0"))
    [(carrier, _)] = start_agents(plan, [node], habits / "agents.log")
    assert carrier.communicate(timeout=PATIENCE_S)[0].decode().split() == [*HABITS.values(), *NEEDED.values()]
    assert batch_host.run("printenv", "SCANCEL_STATE") == ""


def test_a_job_is_queued_from_within_another_as_from_outside(habits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SBATCH_WAIT", "1")  # with it sbatch would answer when the job is over
    both = HABITS | NEEDED
    outside = [name for name in both if name.startswith(("SQUEUE_", "SINFO_", "SCONTROL_", "SCANCEL_")) or name == "SLURM_CONF"]
    command(habits, "sbatch", f"printenv {' '.join([*both, 'SBATCH_WAIT'])} > {habits}/told; echo '8;lab'")
    assert again(RunDir(habits / "run"), after=["7"]) == "8"
    assert (habits / "told").read_text().split() == [both[name] for name in outside]
    asked(("sbatch",))
    assert (habits / "told").read_text().split() == list(both.values())
