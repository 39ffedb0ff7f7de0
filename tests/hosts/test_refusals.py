"""What is wrong with a host is found before anything starts, and said with its name and a remedy."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from tests.hosts.conftest import Seat


@pytest.mark.parametrize(
    ("hosts", "said"),
    [
        (["h1", "h0"], "h0: ssh cannot reach it (ssh: connect to host h0 port 22: Connection refused). See 'ssh h0'"),
        (["nobody-is-here"], "nobody-is-here: its name does not resolve"),
        (["sshd@h1"], "sshd@h1: it does not let this user in without a password"),
        (["10.78.0.254"], "10.78.0.254: ssh cannot reach it"),
    ],
)
def test_a_host_that_cannot_be_used_is_named(seat: Seat, hosts: list[str], said: str) -> None:
    outcome = seat.launch(seat.program(hosts=hosts))
    assert (outcome.code, seat.runs()) == (3, [])
    assert said in outcome.err


def test_an_unknown_host_key_is_not_taken_on_trust(seat: Seat) -> None:
    known = seat.park.folder / "known_hosts"
    before = known.read_text()
    known.write_text("".join(line for line in before.splitlines(keepends=True) if not line.startswith("h2,")))
    try:
        outcome = seat.launch(seat.program())
    finally:
        known.write_text(before)
    assert outcome.code == 3
    assert "h2: its host key is not known here" in outcome.err
    assert "Connect once by hand with 'ssh h2'" in outcome.err


@pytest.mark.parametrize(
    ("python", "said"),
    [
        ("/nowhere/python", "h1: there is no interpreter /nowhere/python"),
        ("/usr/bin/python3", "is not installed for /usr/bin/python3"),
        ("/bin/true", "h1: /bin/true could not be asked"),
    ],
)
def test_a_foreign_interpreter_is_named(seat: Seat, python: str, said: str) -> None:
    outcome = seat.launch(seat.program(hosts=["h1"]), "--set", f"environment.python={python}")
    assert outcome.code == 3
    assert said in outcome.err


def test_a_folder_that_a_host_lacks_is_named(seat: Seat) -> None:
    job = seat.program()
    seat.park.hide("h2", seat.folder)
    (seat.folder / "own").mkdir()
    outcome = seat.launch(job, "--set", f"workdir={seat.folder}/own")
    seat.park.show("h2", seat.folder)
    assert outcome.code == 3
    assert f"h2: the folder {seat.folder}/own is not there" in outcome.err


def test_a_run_directory_that_a_host_does_not_see(seat: Seat) -> None:
    job = seat.program()
    (seat.folder / "runs").mkdir()
    seat.park.hide("h2", seat.folder / "runs")
    outcome = seat.launch(job)
    seat.park.show("h2", seat.folder / "runs")
    assert outcome.code == 3
    assert "node 1 (h2)" in outcome.said
    assert "every node must see the run directory under one path" in " ".join(outcome.said.split())


def test_a_copy_of_the_run_directory_is_not_the_run_directory(seat: Seat) -> None:
    assert seat.launch(seat.program(hosts=["h1", "h2"]), "--prepare").code == 0
    copy = shutil.copytree(seat.folder / "runs", seat.park.folder / "copy")
    seat.park.hosts["h2"].run("mount", "--bind", str(copy), str(seat.folder / "runs"))
    outcome = seat.launch("resume", "last")
    seat.park.show("h2", seat.folder / "runs")
    shutil.rmtree(copy)
    assert outcome.code == 3
    assert "or not the same as elsewhere" in " ".join(outcome.said.split())


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        ({"hosts": None, "backend": "hosts"}, "resources.hosts: the hosts backend needs machines"),
        ({"hosts": ["h1", "h1"]}, "resources.hosts: h1 is named twice. Write h1:2 for two ranks on it"),
        ({"hosts": ["h1", "h2"], "nodes": 2, "spares": 1}, "3 hosts are wanted, 1 of them spares, and resources.hosts names 2"),
        ({"hosts": "no-such-file"}, "cannot read the host file"),
    ],
)
def test_a_job_that_names_the_wrong_hosts(seat: Seat, resources: Any, said: str) -> None:
    outcome = seat.launch(seat.program(**resources))
    assert outcome.code == 2
    assert said in outcome.err
