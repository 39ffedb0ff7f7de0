"""What doctor says: each thing that is not as it should be has a verdict, a finding and a remedy."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher.backends import check
from launcher.backends.hosts.check import hosts
from launcher.backends.slurm import queue
from launcher.backends.slurm.check import mount_of, partition, settings, version
from launcher.cli import allreduce
from launcher.load import parse_job
from launcher.plan import Cluster, Machine, make_plan
from tests.launch.conftest import ByHand, Launch
from tests.patience import PATIENCE_S

FACTS = {"torch": "2.14.1", "cuda": "13.0"}


@pytest.fixture
def few_open_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize(
    ("device", "driver", "named", "seen", "verdict", "words"),
    [
        ("auto", 0, None, 0, "ok", "on the CPU"),
        ("cuda", 0, None, 0, "fails", "none, and resources.device asks for cuda"),
        ("auto", 8, None, 8, "ok", "8, as the driver says"),
        ("auto", 8, None, 0, "fails", "the driver has 8, and torch 2.14.1 sees 0"),
        ("auto", 8, "2,3", 2, "ok", "2, as the driver says and CUDA_VISIBLE_DEVICES=2,3 leaves"),
        ("auto", 8, "", 0, "ok", "on the CPU"),
        ("auto", 8, "-1", 0, "ok", "on the CPU"),
    ],
)
def test_torch_has_to_see_what_the_driver_has(
    monkeypatch: pytest.MonkeyPatch, device: str, driver: int, named: str | None, seen: int, verdict: str, words: str
) -> None:
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    job = parse_job(f"resources: {{device: {device}}}\nrun: {{program: ['true']}}")
    found = check.gpus(job, FACTS | {"gpus": seen}, driver=driver)
    assert found.verdict == verdict
    assert words in found.found
    assert (found.remedy is None) == (verdict == "ok")


def test_a_missing_interpreter_fails_and_the_command_says_so(launch: Launch) -> None:
    said = launch("doctor", "--backend", "local", "--set", "environment.python=/no/python")
    assert said.code == 3
    assert "fails    python         /no/python: No such file or directory" in said.out
    assert "-> set environment.python to an interpreter that all nodes have" in said.out
    assert said.out.endswith("what fails: python\n")


def test_with_json_there_is_json_alone(launch: Launch) -> None:
    said = launch("doctor", "--backend", "local", "--set", "environment.python=/no/python", "--json", "--allreduce")
    assert said.code == 3
    assert said.json["ok"] is False
    assert said.json["checks"][0] == {
        "what": "python", "verdict": "fails", "found": "/no/python: No such file or directory",
        "remedy": "set environment.python to an interpreter that all nodes have",
    }  # fmt: skip
    assert "all-reduce" not in {each["what"] for each in said.json["checks"]}


@pytest.mark.parametrize(("last", "asked"), [("done", []), ("running", ["scancel"])])
def test_a_job_is_left_when_it_has_ended(
    by_hand: ByHand, done: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, last: str, asked: list[str]
) -> None:
    """After its last word its supervisor still withdraws its successor, and writes that into the run."""
    states, calls = iter(("RUNNING|None", "RUNNING|None", "COMPLETING|None")), []

    def slurm(command: str, *_argv: str) -> str:
        calls.append(command)
        return next(states) if command == "squeue" else ""

    monkeypatch.setattr(queue, "slurm", slurm)
    monkeypatch.setattr(allreduce, "POLL_S", 0.0)
    allreduce.leave(by_hand(ledger=[*done[:-1], {**done[-1], "event": last}]), "7")
    assert calls == [*asked, "squeue", "squeue", "squeue", "scancel"]


def test_a_run_directory_that_cannot_be_written_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(_folder: Path) -> tuple[float, float]:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(check, "written", read_only)
    (found,) = check.run_directory(tmp_path / "runs")
    assert found.verdict == "fails"
    assert found.found == f"cannot write and lock in {tmp_path}: Read-only file system"


def test_a_run_directory_is_tried_and_left_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("SLOW_WRITE_S", "SKEW_S"):
        monkeypatch.setattr(check, limit, PATIENCE_S)
    found = {each.what: each.verdict for each in check.run_directory(tmp_path / "not" / "yet")}
    assert found["run directory"] == found["clock"] == "ok"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("ahead_s", "words"), [(90.0, "90.0 s ahead of"), (-90.0, "90.0 s behind")])
def test_a_file_system_with_another_clock_is_told(ahead_s: float, words: str) -> None:
    found = check.clock(ahead_s)
    assert found.verdict == "warning"
    assert words in found.found


@pytest.mark.usefixtures("few_open_files")
def test_few_open_files_are_told() -> None:
    found = {each.what: each for each in check.limits()}["open files"]
    assert (found.verdict, found.found) == ("warning", "256 per process")


SINFO = "main|0/3/1/4|infinite|up|OFF\nshort|2/0/0/2|5:00|up|OFF\nbig|0/16/0/16|2-00:00:00|down|REQUEUE\n"


@pytest.mark.parametrize(("sinfo", "resources", "verdict", "found"), [
    (SINFO.replace("main", "main*"), "{}", "ok", "main: 3 of 4 nodes idle; time limit infinite; preemption off"),
    (SINFO, "{nodes: 5, slurm: {partition: 'main,big'}}", "ok",
     "main: 3 of 4 nodes idle; time limit infinite; preemption off, "
     "big: 16 of 16 nodes idle; time limit 2-00:00:00; preemption requeue"),
    (SINFO, "{}", "warning", "none is asked for, and none is the default"),
    (SINFO, "{slurm: {partition: big}}", "warning",
     "big: 16 of 16 nodes idle; time limit 2-00:00:00; preemption requeue; it is down"),
    (SINFO, "{slurm: {partition: 'main,bg'}}", "fails", "there is no partition 'bg'. Did you mean 'big'?"),
    (SINFO, "{nodes: 3, slurm: {partition: short}}", "fails", "the job asks for 3 nodes, and it would wait for ever: short"),
    (SINFO, "{time: 6m, slurm: {partition: short}}", "fails", "resources.time is 6m, more than its partition allows"),
])  # fmt: skip
def test_a_partition_is_judged_as_a_submission_judges_it(
    monkeypatch: pytest.MonkeyPatch, sinfo: str, resources: str, verdict: str, found: str
) -> None:
    monkeypatch.setattr("launcher.backends.slurm.partitions.slurm", lambda *_: sinfo)
    told = partition(parse_job(f"run: {{program: [x]}}\nresources: {resources}\n"))
    assert told.verdict == verdict
    assert told.found.startswith(found)
    assert told.remedy if verdict != "ok" else told.found == found


def test_the_file_system_of_a_path_is_that_of_the_longest_mount() -> None:
    mounts = (
        "/dev/sda1 / ext4 rw 0 0\nnas:/home /home nfs4 rw 0 0\ntmpfs /home/tmp tmpfs rw 0 0\nnas:/b /my\\040disk lustre rw 0 0\n"
    )
    paths = ("/opt/x", "/home/me/runs", "/home/tmp/x", "/my disk/x")
    assert [mount_of(Path(path), mounts)[1] for path in paths] == ["ext4", "nfs4", "tmpfs", "lustre"]


@pytest.mark.parametrize(
    ("config", "what", "verdict"),
    [
        ({"KillWait": "30 sec"}, "KillWait", "ok"),
        ({"KillWait": "5 sec"}, "KillWait", "warning"),
        ({"SlurmdTimeout": "300 sec"}, "SlurmdTimeout", "ok"),
        ({"ProctrackType": "proctrack/linuxproc"}, "ProctrackType", "warning"),
    ],
)
def test_settings_of_the_site_that_matter(config: dict[str, str], what: str, verdict: str) -> None:
    assert [(each.what, each.verdict) for each in settings(config)] == [(what, verdict)]


@pytest.mark.parametrize(("text", "verdict"), [("slurm 24.11.5", "ok"), ("slurm-wlm 22.05.8", "ok"), ("slurm 19.05.2", "fails")])
def test_versions_that_will_do(text: str, verdict: str) -> None:
    assert version(text).verdict == verdict


def test_a_host_that_cannot_be_reached_is_a_line_of_its_own() -> None:
    job = parse_job("resources: {hosts: [no.such.host.invalid]}\nrun: {program: ['true']}")
    (found,) = hosts(job)
    assert (found.what, found.verdict) == ("host", "fails")
    assert found.remedy


def rank(number: int, **other: Any) -> dict[str, Any]:
    host = f"n{number // 2}"
    return {"rank": number, "host": host, "device": "cpu", "cores": 2, "threads": 1, "python": "3.11.7", "torch": "2.14.1",
            "time": 100.0, **other}  # fmt: skip


@pytest.mark.parametrize(
    ("odd", "right", "what", "words"),
    [
        ({}, True, None, ""),
        ({"torch": "2.13.0"}, True, "ranks", "n1 has torch 2.13.0"),
        ({"device": "cuda:1 (H100)"}, True, "ranks", "on different devices"),
        ({"rank": 2}, True, "ranks", "[0, 1, 2, 2], not [0, 1, 2, 3]"),
        ({"time": 200.0}, True, "clocks", "differ by 100.0 s"),
        ({}, False, "all-reduce", "the sum is wrong"),
    ],
)
def test_what_the_all_reduce_shows(odd: dict[str, Any], right: bool, what: str | None, words: str) -> None:
    machines = tuple(Machine(host=f"n{index}", address="", cpus=(0, 1)) for index in range(2))
    job = parse_job("resources: {nodes: 2, procs_per_node: 2}\nrun: {program: ['true']}")
    plan = make_plan(job, Cluster(backend="local", machines=machines, python="python3"))
    ranks = [rank(0), rank(1), rank(2), rank(3, **odd)]
    result = {"ranks": ranks, "bytes": 16_000_000, "rounds": 10, "seconds": 1.0, "right": right}
    found = list(allreduce.told(result, plan))
    assert [each.what for each in found if each.verdict != "ok"] == ([what] if what else [])
    assert words in " ".join(each.found for each in found)
    if what is None:
        assert "16.0 MB over 4 ranks in 100.0 ms: 240 MB/s of bus bandwidth" in found[2].found
