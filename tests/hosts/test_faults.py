"""What dies under a run on hosts, and how it goes on: nothing is left anywhere, and no two attempts overlap."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from tests.contracts.conftest import LAUNCH, until
from tests.hosts.conftest import Seat
from tests.hosts.park import command_line


def kill(seat: Seat, host: str, words: bytes) -> None:
    """The newest process of a host whose command line has these words."""
    found = [pid for pid in seat.park.hosts[host].processes() if words in command_line(pid)]
    assert found, f"no {words!r} on {host}"
    os.kill(max(found), signal.SIGKILL)


FAULTS: dict[str, Callable[[Seat], None]] = {
    "rank": lambda seat: kill(seat, "h2", b"own.py"),
    "agent": lambda seat: kill(seat, "h2", b"-m\0launcher.agent"),
    "session": lambda seat: kill(seat, "h2", b"sshd: root"),
    "ssh": lambda seat: kill(seat, "h0", b"ControlMaster=no\0h2"),
    "cut": lambda seat: seat.park.cut("h2"),
    "frozen": lambda seat: seat.park.hosts["h2"].freeze(),
    "power": lambda seat: seat.park.power_off("h2"),
}
IN_THE_SUITE = ("agent", "cut")
NODE_IS_LOST = ("cut", "frozen", "power")


@pytest.mark.parametrize(
    "fault", [each if each in IN_THE_SUITE else pytest.param(each, marks=pytest.mark.long) for each in FAULTS]
)
def test_goes_on(seat: Seat, fault: str) -> None:
    # What merely is held up by a busy machine must not look silent, where the node is well.
    patient = () if fault in NODE_IS_LOST else ("--set", "retry.lost_after=30s")
    seat.start(LAUNCH, seat.program(spares=1), *patient)
    seat.up(attempt=1, ranks=2)
    FAULTS[fault](seat)
    try:
        seat.up_again(ranks=2)
        reasons = [each["reason"] for each in seat.events("failure")]
        if fault != "rank":  # the ranks of a node that died at once are tried elsewhere
            assert any("h3 takes the place of h2" in reason for reason in reasons) is (fault in NODE_IS_LOST), reasons
        if fault == "cut":  # it hears nothing, and ends itself
            until(lambda: not seat.park.agents("h2"))
    finally:
        seat.park.mend("h2")
    assert seat.launch("stop", "last", "--wait").code == 0
    seat.park.wait_quiet()


def test_a_dead_supervisor_leaves_nothing(seat: Seat) -> None:
    seat.start(LAUNCH, seat.program())
    seat.up(attempt=1, ranks=3)
    kill(seat, "h0", LAUNCH.encode())
    seat.park.wait_quiet()
    assert seat.status()["state"] == "stopped"


@pytest.mark.long
def test_as_many_as_there_are(seat: Seat) -> None:
    """Of a range of nodes those that can be reached take part; who is lost is done without."""
    seat.park.cut("h3")
    try:
        seat.start(LAUNCH, seat.program(nodes={"min": 1, "max": 3}))
        seat.up(attempt=1, ranks=2)
        seat.park.cut("h2")
        seat.up_again(ranks=1)
    finally:
        seat.park.mend("h2")
        seat.park.mend("h3")
    assert any("without node 1 (h2)" in each["reason"] for each in seat.events("failure"))
    assert seat.launch("stop", "last", "--wait").code == 0
