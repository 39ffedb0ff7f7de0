"""What ranks on hosts have in their environment: the plan's bytes, and secrets that stand nowhere on the way."""

from __future__ import annotations

import json
from pathlib import Path

from tests.contracts.conftest import LAUNCH
from tests.hosts.conftest import Seat
from tests.hosts.park import command_line
from tests.patience import PATIENCE_S

TELLS = """
import json, os, sys, time
names = ("NASTY", "TOKEN", "THERE", "SET_UP", "lower")
print(json.dumps({name: os.environ.get(name) for name in names}), "CANARY" in os.environ, flush=True)
print("up", flush=True)
time.sleep(3)
"""
NASTY = "a, b  'c' \"d\" $HOME `x` \\\n\tü 日本 = %s ;#!"
SECRET = "canary-" + "s3cr3t " * 300


def test_bytes_secrets_and_setup(seat: Seat) -> None:
    job = json.loads(Path(seat.program(TELLS, hosts=["h1", "h2"])).read_text())
    job["env"] = {"NASTY": NASTY, "lower": "é", "TOKEN": "<${env:CANARY}>", "THERE": "${env:TMPDIR}"}
    job["environment"] = {"setup": ["# a comment", "export SET_UP='by $0'", "echo noise; cat"]}
    seat.start(LAUNCH, seat.job(job), env={"CANARY": SECRET, "TMPDIR": "/tmp"})
    seat.up(attempt=1, ranks=2)
    for host in seat.park.hosts:
        assert not any(SECRET[:13].encode() in command_line(pid) for pid in seat.park.hosts[host].processes())
    assert seat.started[-1].wait(PATIENCE_S) == 0, seat.screen()
    told, handed_on = seat.logs()["attempt-1/rank-1"].splitlines()[0].rsplit(" ", 1)
    there = f"{seat.park.folder}/tmp"
    assert json.loads(told) == {"NASTY": NASTY, "lower": "é", "TOKEN": f"<{SECRET}>", "THERE": there, "SET_UP": "by $0"}
    assert handed_on == "False"  # only where it is referred to
    for file in seat.run().rglob("*"):  # but what the ranks themselves print
        assert not file.is_file() or file.name.startswith("rank-") or SECRET[:13].encode() not in file.read_bytes(), file
