"""A rank says where it is, whatever it is stuck in; and one that cannot is not killed by being asked."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from itertools import count

import psutil
import pytest

from launcher.agent.stacks import SIGNAL, catches
from launcher.supervisor.stacks import Place, place_of
from tests.agent.conftest import Job
from tests.agent.pipes import TORCH, Supervisor
from tests.agent.test_orders import wait_for
from tests.patience import PATIENCE_S

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


NUMBERS = count(1)
"""Of questions: an answer names the one that it is for."""


def asked(supervisor: Supervisor, *, whole: bool = True) -> list[str]:
    number = next(NUMBERS)
    supervisor.send("stacks", attempt=1, number=number, whole=whole)
    supervisor.hear("stacks", attempt=1, number=number)
    return [path.read_text() for path in sorted(supervisor.run.attempt(1).glob("rank-*.stacks"))]


def asked_until(supervisor: Supervisor, fit: Callable[[list[str]], bool], *, whole: bool = True) -> list[str]:
    """A rank that does not run for a while gives no answer, or half of one."""
    until = time.monotonic() + PATIENCE_S
    while not fit(texts := asked(supervisor, whole=whole)):
        assert time.monotonic() < until, texts
    return texts


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

    def is_there(texts: list[str]) -> bool:
        (place,) = map(place_of, texts)
        return place == Place(what=what, where=where) or (what == "spin" == place.what and place.where is not None)

    def is_alone(texts: list[str]) -> bool:
        return is_there(texts) and texts[0].count("Current thread") == 1

    for _ in range(2):  # each answer holds its own stacks alone
        asked_until(supervisor, is_alone)
    asked_until(supervisor, lambda texts: is_there(texts) and "Thread" not in texts[0], whole=False)  # its main thread alone
    supervisor.send("kill", attempt=1)
    assert supervisor.codes() == [-9]


@pytest.mark.parametrize("engine", ["launcher", pytest.param("torchrun", marks=pytest.mark.long)])
def test_a_collective_is_called_by_its_name(job: Job, engine: str) -> None:
    supervisor = job(REDUCES, preload=TORCH, engine=engine)
    supervisor.warm()
    supervisor.start(ranks=2)
    wait_for(supervisor, "here", ranks=2)
    texts = asked_until(supervisor, lambda texts: {place_of(text).what for text in texts} == {"all_reduce", "barrier"})
    assert all(place_of(text).waits for text in texts)
    supervisor.send("kill", attempt=1)
    supervisor.codes(ranks=2)


def test_a_stopped_rank_and_a_program_without_python_are_left_alone(job: Job) -> None:
    supervisor = job(SLEEPS)
    supervisor.warm()
    supervisor.start(wait=False)
    pid = supervisor.hear("started")[0]["pids"][0]
    wait_for(supervisor, "here")
    os.kill(pid, signal.SIGSTOP)
    until = time.monotonic() + PATIENCE_S
    while psutil.Process(pid).status() != psutil.STATUS_STOPPED:
        assert time.monotonic() < until
        assert supervisor.read(0.01)
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
    # A step may be read before its pulse is counted, and is then told twice.
    told = [each for each in supervisor.news if each["kind"] == "step" and (each["step"], each["pulses"]) != (3, 0)]
    assert [(each["step"], each["pulses"], each.get("bytes")) for each in told] == [(3, 1, None)]


def test_facts_are_told_after_warm(job: Job) -> None:
    supervisor = job("print(1)")
    supervisor.warm(code=True)
    first = supervisor.hear("facts")[0]
    assert first["python"] == ".".join(map(str, sys.version_info[:3]))
    assert first["cpus"] == len(os.sched_getaffinity(0))
    (supervisor.run.path.parent / "work" / "train.py").write_text("print(2)")
    supervisor.warm(code=True)
    assert supervisor.hear("facts")[0]["code"] != first["code"]
