"""A rank says where it is, whatever it is stuck in; and one that cannot is not killed by being asked."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from launcher.agent.stacks import SIGNAL, catches
from launcher.supervisor.stacks import Place, place_of
from tests.agent.conftest import Job
from tests.agent.pipes import TORCH, Supervisor
from tests.agent.test_orders import wait_for

SLEEPS = """
import time
def load_batch():
    print("here", flush=True)
    time.sleep(100)
load_batch()
"""
IN_C = """
import ctypes
def sort():
    lock, c = ctypes.create_string_buffer(64), ctypes.PyDLL(None)  # which keeps the interpreter's lock
    c.pthread_mutex_lock(lock)
    print("here", flush=True)
    c.pthread_mutex_lock(lock)
sort()
"""
SPINS = """
def spin():
    print("here", flush=True)
    while True:
        pass
spin()
"""
WITH_THREADS = """
import threading, time
threading.Thread(target=time.sleep, args=(100,), daemon=True).start()
def wait_for_them():
    print("here", flush=True)
    time.sleep(100)
wait_for_them()
"""
REDUCES = """
import os, torch, torch.distributed as dist
dist.init_process_group("gloo")
print("here", flush=True)
if os.environ["RANK"] == "0":
    dist.all_reduce(torch.ones(1))
else:
    dist.barrier()
"""
PRINTS = """
import time
from pathlib import Path
from launcher import pulse
print("x" * 9)
while not Path("go").exists():
    time.sleep(0.01)
pulse(3)
time.sleep(1)
print("more")
time.sleep(1)
"""


def asked(supervisor: Supervisor, number: int = 1, *, whole: bool = True) -> list[str]:
    supervisor.send("stacks", attempt=1, number=number, whole=whole)
    supervisor.hear("stacks", attempt=1, number=number)
    return [path.read_text() for path in sorted(supervisor.run.attempt(1).glob("rank-*.stacks"))]


@pytest.mark.parametrize(
    ("script", "what", "line"),
    [(SLEEPS, "load_batch", 5), (IN_C, "sort", 7), (SPINS, "spin", 4), (WITH_THREADS, "wait_for_them", 6)],
)
def test_a_rank_tells_where_it_is_and_goes_on(job: Job, script: str, what: str, line: int) -> None:
    supervisor = job(script)
    supervisor.warm()
    supervisor.start()
    wait_for(supervisor, "here")
    where = f"{supervisor.run.path.parent}/work/train.py:{line}"
    for number in (1, 2):  # each answer holds its own stacks alone
        (text,) = asked(supervisor, number)
        assert place_of(text).what == what
        assert place_of(text).where is not None
        if what != "spin":
            assert place_of(text) == Place(what=what, where=where)
        assert text.count("Current thread") == 1
    (text,) = asked(supervisor, 3, whole=False)  # its main thread alone
    assert place_of(text).what == what
    assert "Thread" not in text
    supervisor.send("kill", attempt=1)
    assert supervisor.codes() == [-9]


@pytest.mark.parametrize("engine", ["launcher", pytest.param("torchrun", marks=pytest.mark.long)])
def test_a_collective_is_called_by_its_name(job: Job, engine: str) -> None:
    supervisor = job(REDUCES, preload=TORCH, engine=engine)
    supervisor.warm()
    supervisor.start(ranks=2)
    wait_for(supervisor, "here", ranks=2)
    until_in(supervisor, {"all_reduce", "barrier"})
    supervisor.send("kill", attempt=1)
    supervisor.codes(ranks=2)


def until_in(supervisor: Supervisor, expected: set[str]) -> None:
    for number in range(1, 40):
        places = [place_of(text) for text in asked(supervisor, number)]
        if {place.what for place in places} == expected:
            assert all(place.waits for place in places)
            return
    raise AssertionError(places)


def test_a_stopped_rank_and_a_program_without_python_are_left_alone(job: Job) -> None:
    supervisor = job(SLEEPS)
    supervisor.warm()
    supervisor.start(wait=False)
    pid = supervisor.hear("started")[0]["pids"][0]
    wait_for(supervisor, "here")
    os.kill(pid, signal.SIGSTOP)
    assert "it is stopped" in asked(supervisor)[0]
    supervisor.send("kill", attempt=1)
    supervisor.codes()

    program = job(kind="program", target="sh", argv=["-c", "echo here; sleep 100 & wait"])
    program.warm()
    program.start()
    wait_for(program, "here")
    assert "or is a program whose" in asked(program)[0]
    assert program.run.rank_log(1, 0).read_text() == "here\n"
    program.send("kill", attempt=1)
    assert program.codes() == [-9]  # our own, not the question's


def test_only_who_has_a_handler_is_sent_the_signal() -> None:
    assert not catches(os.getpid())
    before = signal.signal(SIGNAL, lambda *_: None)
    assert catches(os.getpid())
    signal.signal(SIGNAL, before)
    assert not catches(2**22 + 1)  # no such process


def test_output_counts_as_progress_until_the_first_pulse(job: Job) -> None:
    supervisor = job(PRINTS)
    supervisor.warm()
    supervisor.start()
    first = supervisor.hear("step")[0]
    assert (first["step"], first["pulses"], first["bytes"]) == (-1, 0, 10)
    (supervisor.run.path.parent / "work" / "go").touch()
    supervisor.codes()
    told = [(each["step"], each["pulses"], each.get("bytes")) for each in supervisor.news if each["kind"] == "step"]
    assert told == [(3, 1, None)]


def test_facts_are_told_after_warm(job: Job) -> None:
    supervisor = job("print(1)")
    supervisor.warm(code=True)
    first = supervisor.hear("facts")[0]
    assert first["python"] == ".".join(map(str, sys.version_info[:3]))
    assert first["cpus"] == len(os.sched_getaffinity(0))
    (supervisor.run.path.parent / "work" / "train.py").write_text("print(2)")
    supervisor.warm(code=True)
    assert supervisor.hear("facts")[0]["code"] != first["code"]
