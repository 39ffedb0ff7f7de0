"""Hosts that failed lately, and jobs that can do without them or cannot."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from launcher.backends.distrust import hold_against
from launcher.backends.slurm import exclusion, release, successor
from launcher.backends.slurm.exclusion import left_out
from launcher.load import parse_job
from launcher.rundir import RunDir, json_lines
from launcher.spec import Job

ALL = ("n1", "n2", "n3", "n4")


class Site:
    """A cluster of four nodes, some of which fit the job."""

    def __init__(self) -> None:
        self.fit, self.wants, self.takes_jobs = set(ALL), 1, True
        self.partitions = ("main*",)
        self.asked: list[tuple[str, ...]] = []

    def slurm(self, *argv: str, **_: Any) -> str:
        self.asked.append(argv)
        if argv[0] == "sbatch":
            return "8\n"
        if argv[:2] == ("scontrol", "write"):
            return "#!/bin/bash\n"
        if argv[:2] == ("scontrol", "show"):
            return "n2\nn3\n"  # n[2-3]
        return "".join(f"{host} {partition}\n" for host in ALL for partition in self.partitions)

    def sbatch(self, argv: tuple[str, ...], **_: Any) -> subprocess.CompletedProcess[str]:
        assert argv[:2] == ("sbatch", "--test-only")
        names = "".join(argv[2:]).removeprefix("--exclude=").replace("n[2-3]", "n2,n3").split(",")
        return subprocess.CompletedProcess(argv, 0 if self.takes_jobs and len(self.fit - set(names)) >= self.wants else 1)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Site:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("SLURM_JOB_PARTITION", raising=False)
    site = Site()
    monkeypatch.setattr(exclusion, "asked", site.sbatch)
    for module in (exclusion, successor):
        monkeypatch.setattr(module, "slurm", site.slurm)
        monkeypatch.setattr(module, "scontrol", lambda *argv: site.slurm("scontrol", *argv))
    return site


def job(slurm: str = "{}", *, nodes: int = 1) -> Job:
    return parse_job(f"run: {{program: [./train]}}\nresources: {{nodes: {nodes}, slurm: {slurm}}}\n", "job.yaml")


def failed(host: str) -> None:
    hold_against(host, "fell silent", run=f"of-{host}", weight=1.0)


@pytest.mark.parametrize(
    ("fit", "nodes", "slurm", "bad"),
    [
        (ALL, 1, "{}", ["n1"]),
        (ALL, 3, "{}", ["n1"]),
        (ALL, 4, "{}", []),
        (("n1", "n2"), 1, "{constraint: big}", ["n1"]),
        (("n1", "n2"), 2, "{constraint: big}", []),
        (ALL, 1, "{exclude: 'n[2-3]'}", ["n1"]),
        (ALL, 2, "{exclude: 'n[2-3]'}", []),
        (("n1",), 1, "{nodelist: n1}", []),
    ],
)
def test_a_bad_host_is_left_out_where_the_job_can_do_without_it(
    fit: tuple[str, ...], nodes: int, slurm: str, bad: list[str], site: Site
) -> None:
    site.fit, site.wants = set(fit), nodes
    assert left_out(job(slurm, nodes=nodes), "") == []
    failed("n1")
    assert left_out(job(slurm, nodes=nodes), "") == bad


@pytest.mark.parametrize(("nodes", "slurm", "bad"), [
    (3, "{}", ["n1"]), (4, "{}", []), (1, "{exclude: 'n[2-3]'}", ["n1"]), (2, "{exclude: 'n[2-3]'}", []),
])  # fmt: skip
def test_where_slurm_takes_no_job_at_all_the_nodes_are_counted(nodes: int, slurm: str, bad: list[str], site: Site) -> None:
    site.takes_jobs = False
    failed("n1")
    assert left_out(job(slurm, nodes=nodes), "") == bad


@pytest.mark.parametrize(("partitions", "slurm"), [(("main*", "low"), "{}"), (("main*", "low"), "{partition: 'main,low'}")])
def test_a_node_of_two_partitions_counts_once(partitions: tuple[str, ...], slurm: str, site: Site) -> None:
    site.partitions = partitions
    failed("n1")
    failed("n2")
    assert left_out(job(slurm), "") == ["n1"]  # a quarter of four


def test_who_is_left_out_is_told(site: Site, tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    run.path.mkdir()
    (run.path / successor.SCRIPT).touch()
    successor.note(run, *successor.queued(run, job("{exclude: n4}")))
    assert not run.events.exists()
    failed("n1")
    successor.note(run, *successor.queued(run, job("{exclude: n4}")))
    assert "--exclude=n4,n1" in site.asked[-1]
    [note] = json_lines(run.events)
    assert (note["event"], note["job"]) == ("note", "8")
    assert note["reason"] == "job 8 is queued without hosts that failed lately: n1 (fell silent)"


def test_a_successor_that_needs_the_lost_host_waits_for_it(site: Site) -> None:
    release("8", job(), ["n2"])
    assert site.asked[-1] == ("scontrol", "update", "JobId=8", "Dependency=", "ExcNodeList=n2")
    site.fit = {"n2"}
    release("8", job(), ["n2"])
    assert site.asked[-1] == ("scontrol", "update", "JobId=8", "Dependency=")
