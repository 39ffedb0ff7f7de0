"""`resources.agent: torchrun`: its own restarts, our logs, errors, channel, stop and kill."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import pytest

from tests.agent.conftest import Job
from tests.patience import PATIENCE_S

SCRIPT = """
import os, signal, sys, time
import torch, torch.distributed as dist
from launcher.rank import pulse, should_stop
dist.init_process_group("gloo")
x = torch.ones(1)
dist.all_reduce(x)
print("sum", int(x), os.environ["LAUNCHER_ATTEMPT"], sys.argv[1:])
first, second = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0", os.environ["RANK"] == "1"
if first and second:
    os.kill(os.getpid(), signal.SIGKILL)
if first:
    time.sleep(60)
for step in range(1_000):
    pulse(step)
    if should_stop():
        sys.exit(75)
    time.sleep(0.01)
raise ValueError("never asked to stop")
"""


def test_restarts_by_itself_and_stops_when_asked(job: Job) -> None:
    supervisor = job(SCRIPT, engine="torchrun", argv=["a b"])
    supervisor.warm()
    supervisor.start(ranks=2)
    supervisor.hear("step", attempt=1, bytes=None, asks=True)  # a pulse, not output
    supervisor.send("stop", attempt=1)
    exits = supervisor.hear("exited", count=2, attempt=1)
    assert {(each["rank"], each["code"], each["killed"], each["log_attempt"]) for each in exits} == {
        (0, 75, False, 2),
        (1, 75, False, 2),
    }
    supervisor.hear("swept", attempt=1)
    assert supervisor.log(1, attempt=2).startswith("sum 2 2 ['a b']")
    assert "exitcode: -9" in supervisor.run.node_log(1, 0).read_text()


def test_a_torchrun_that_is_killed_leaves_no_folder(job: Job) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        supervisor = job("import time\ntime.sleep(60)", engine="torchrun", caller={"TMPDIR": folder})
        supervisor.start(ranks=1)
        until = time.monotonic() + PATIENCE_S
        while not list(Path(folder).rglob(f"{supervisor.run.id}-1_*")):  # torchrun's own, below the agent's
            assert time.monotonic() < until
            supervisor.read(0.05)
        assert all(each.name.startswith(("launcher-agent-", "torchinductor_")) for each in Path(folder).iterdir())
        supervisor.send("kill", attempt=1)
        supervisor.hear("swept", attempt=1)
        assert not list(Path(folder).rglob(f"{supervisor.run.id}-1_*"))


def test_tells_the_exception_and_whom_torchrun_ended(job: Job) -> None:
    script = "import os, time\nif os.environ['RANK'] == '0':\n    raise ValueError('mine')\ntime.sleep(60)"
    supervisor = job(script, engine="torchrun")
    supervisor.start(ranks=2)
    first, second = sorted(supervisor.hear("exited", count=2), key=lambda each: each["rank"])
    assert (first["code"], first["killed"], second["code"], second["killed"]) == (1, False, -15, True)
    told = supervisor.error(0, attempt=4)
    assert (told["exception"], told["where"].rpartition("/")[2]) == ("ValueError", "train.py:3")


FIRST_FAILS = """
there=$LAUNCHER_RUN_DIR/there
if [ $RANK = 0 ]; then until [ -e $there ]; do sleep 0.05; done; exit 3; fi
touch $there; sleep 60
"""
"""Once the other one is there: what torchrun ends on its way has another code."""


@pytest.mark.parametrize(("exits", "codes"), [("exit 0", [0, 0]), (FIRST_FAILS, [3, -15])])
def test_a_program_in_the_ranks_place_has_its_own_exit_code(job: Job, exits: str, codes: list[int]) -> None:
    supervisor = job(engine="torchrun", kind="program", target="sh", argv=["-c", exits])
    supervisor.start(ranks=2, max_restarts=0)
    assert supervisor.codes(ranks=2) == codes


def test_kill_ends_torchrun_before_its_ranks(job: Job) -> None:
    supervisor = job("import time; print('here', flush=True); time.sleep(600)", engine="torchrun")
    supervisor.start(ranks=2)
    while not all(supervisor.run.rank_log(1, rank).exists() for rank in (0, 1)):
        supervisor.read(0.05)
    supervisor.send("kill", attempt=1)
    assert supervisor.codes(ranks=2) == [-9, -9]


def test_a_first_node_that_cannot_be_reached_is_trouble(job: Job) -> None:
    supervisor = job(engine="torchrun")
    supervisor.start(wait=False, store_host="no-such-host.invalid", store_port=1)
    assert "cannot reach the first node, no-such-host.invalid" in supervisor.hear("trouble")[0]["message"]


def test_says_where_to_look_when_torchrun_itself_fails(job: Job) -> None:
    supervisor = job(engine="torchrun")
    supervisor.start(ranks=2, max_restarts="none")
    assert supervisor.codes(ranks=2) == [1, 1]
    assert "see " + str(supervisor.run.node_log(1, 0)) in supervisor.error(1)["message"]
    assert "max-restarts" in supervisor.run.node_log(1, 0).read_text()
