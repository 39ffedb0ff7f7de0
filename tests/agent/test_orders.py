"""What the agent does when told, and what it leaves undone when it is told too late."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import suppress

import psutil
import pytest

from tests.agent.conftest import Job
from tests.agent.pipes import TORCH, Supervisor, make_run
from tests.patience import PATIENCE_S

FOREVER = "import time; print('here', flush=True)\nwhile True: time.sleep(0.05)"
REDUCE = """
import os, time
import torch, torch.distributed as dist
dist.init_process_group("gloo")
x = torch.ones(1)
dist.all_reduce(x)
print("sum", int(x), flush=True)
if os.environ["LAUNCHER_ATTEMPT"] == "1":
    time.sleep(60)
"""


def wait_for(supervisor: Supervisor, text: str, *, first: int = 0, ranks: int = 1, attempt: int = 1) -> None:
    until = time.monotonic() + PATIENCE_S
    logs = [supervisor.run.rank_log(attempt, rank) for rank in range(first, first + ranks)]
    while not all(log.exists() and text in log.read_text() for log in logs):
        assert time.monotonic() < until, f"{text} is in none of {logs}"
        assert supervisor.read(0.02)


def test_hello_says_who_and_pings_are_answered_while_the_fork_server_imports(job: Job) -> None:
    supervisor = job(preload=TORCH)
    hello = supervisor.hear("hello")[0]
    assert hello["cpus"] == len(os.sched_getaffinity(0))
    supervisor.warm()
    supervisor.start(wait=False)
    supervisor.send("ping")
    supervisor.hear("pong")
    assert supervisor.codes() == [0]


def test_a_killed_rank_is_told_at_once_and_the_next_attempt_meets_in_a_fresh_store(job: Job) -> None:
    supervisor = job(REDUCE, preload=TORCH)
    supervisor.warm()
    supervisor.start(ranks=2, wait=False)
    pids = supervisor.hear("started")[0]["pids"]
    wait_for(supervisor, "sum 2", ranks=2)
    os.kill(pids[1], signal.SIGKILL)
    told = supervisor.hear("exited")[0]
    assert (told["rank"], told["code"], told["killed"], told["error"]) == (1, -9, False, False)
    supervisor.send("kill", attempt=1)
    survivor = supervisor.hear("exited")[0]
    assert (survivor["rank"], survivor["code"], survivor["killed"]) == (0, -9, True)
    supervisor.hear("swept", attempt=1)
    supervisor.start(2, ranks=2)
    assert supervisor.codes(2, ranks=2) == [0, 0]
    assert "sum 2" in supervisor.log(attempt=2)


def test_a_killed_fork_server_takes_its_ranks_along_and_a_new_one_stands_ready(job: Job) -> None:
    supervisor = job(REDUCE, preload=TORCH)
    supervisor.start(ranks=2, wait=False)
    pid = supervisor.hear("started")[0]["pids"][0]
    wait_for(supervisor, "sum 2", ranks=2)
    os.kill(parent(pid), signal.SIGKILL)
    assert supervisor.codes(ranks=2) == [255, 255]
    supervisor.start(2, ranks=2)
    assert supervisor.codes(2, ranks=2) == [0, 0]


def parent(pid: int) -> int:
    with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
        return int(file.read().rpartition(")")[2].split()[1])


@pytest.mark.parametrize("order", ["stop", "kill"])
def test_orders_for_another_attempt_are_ignored(order: str, job: Job) -> None:
    supervisor = job(FOREVER)
    supervisor.start(2)
    wait_for(supervisor, "here", attempt=2)
    supervisor.send(order, attempt=1)
    supervisor.send("start", run_dir=str(supervisor.run.path), attempt=1, base_ranks=[0], local_world_size=1)
    supervisor.send("ping")
    supervisor.hear("pong")
    supervisor.read(0.2)
    assert not any(message["kind"] in ("exited", "swept", "started") for message in supervisor.news)
    supervisor.send("kill", attempt=2)
    assert supervisor.codes(2) == [-9]


def test_orders_to_other_agents_are_not_obeyed(job: Job) -> None:
    supervisor = job(FOREVER)
    supervisor.start()
    supervisor.process.stdin.write(json.dumps({"kind": "kill", "to": [1, 2], "attempt": 1}).encode() + b"\n")
    supervisor.process.stdin.write(b"not json\n\xff\xfe\n[]\n{}\n")
    supervisor.send("ping")
    supervisor.hear("pong")
    assert not any(message["kind"] == "exited" for message in supervisor.news)
    supervisor.send("kill", attempt=1)
    assert supervisor.codes() == [-9]


def test_killing_what_never_started_is_swept_at_once(job: Job) -> None:
    supervisor = job(FOREVER)
    supervisor.send("store", attempt=1, host="127.0.0.1", world_size=1)
    supervisor.hear("store")
    supervisor.send("kill", attempt=1)
    supervisor.hear("swept", attempt=1)


def test_ranks_that_ask_are_left_to_save(job: Job) -> None:
    script = """
import signal, sys, time
from launcher.rank import pulse, should_stop
signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))
step = 0
while not should_stop():
    if step < 5:
        pulse(step)
    step += 1
    time.sleep(0.01)
time.sleep(0.3)
"""
    supervisor = job(script)
    supervisor.start()
    supervisor.hear("step", bytes=None, step=4, pulses=5)
    supervisor.send("stop", attempt=1)
    assert supervisor.codes() == [0]


def test_other_ranks_get_sigterm_at_once(job: Job) -> None:
    supervisor = job(FOREVER)
    supervisor.start(ranks=2)
    wait_for(supervisor, "here", ranks=2)
    supervisor.send("stop", attempt=1)
    exits = supervisor.hear("exited", count=2)
    assert {(each["code"], each["killed"]) for each in exits} == {(-15, True)}


AGREED = """
import os, signal, sys, time
from launcher.rank import pulse, should_stop
if os.environ["RANK"] == "0":
    while not should_stop():
        pulse(3)
        time.sleep(0.01)
    open("stop", "w").close()
else:
    signal.signal(signal.SIGTERM, lambda *_: print("term", flush=True) if sys.argv[1:] else sys.exit(9))
    print("here", flush=True)
    while sys.argv[1:] or not os.path.exists("stop"):
        time.sleep(0.01)
"""
"""Rank 0 alone asks and tells how far it is. The other one follows it, unless there is an argument."""


def test_a_rank_that_follows_one_who_asks_is_left_to_save(job: Job) -> None:
    supervisor = job(AGREED)
    supervisor.start(ranks=2)
    wait_for(supervisor, "here", first=1)
    supervisor.hear("step", asks=True, step=3)
    supervisor.send("stop", attempt=1)
    assert supervisor.codes(ranks=2) == [0, 0]


def test_a_rank_that_follows_nobody_is_sent_sigterm_after_its_grace_and_sigkill_after_another(job: Job) -> None:
    supervisor = job(AGREED, argv=["deaf"], stop_grace_s=2)
    supervisor.start(ranks=2)
    wait_for(supervisor, "here", first=1)
    supervisor.hear("step", asks=True)
    supervisor.send("stop", attempt=1)
    assert supervisor.codes(ranks=2) == [0, -9]
    assert supervisor.log(1).endswith("here\nterm\n")


def test_a_rank_may_follow_one_on_another_node(job: Job) -> None:
    supervisor = job(AGREED)
    supervisor.start(base_rank=1)
    wait_for(supervisor, "here", first=1)
    supervisor.send("stop", attempt=1, follow=True)
    supervisor.read(0.3)
    (supervisor.run.path.parent / "work" / "stop").touch()
    assert supervisor.codes() == [0]


def test_a_stop_before_the_start_reaches_ranks_as_soon_as_they_are(job: Job) -> None:
    supervisor = job(FOREVER)
    supervisor.start(ranks=2, wait=False)
    supervisor.send("stop", attempt=1)
    assert supervisor.codes(ranks=2) == [-15, -15]


def test_a_stop_before_the_start_leaves_ranks_that_follow_to_save(job: Job) -> None:
    supervisor = job(AGREED)
    supervisor.start(base_rank=1, wait=False)
    supervisor.send("stop", attempt=1, follow=True)
    supervisor.hear("started", attempt=1)
    (supervisor.run.path.parent / "work" / "stop").touch()
    assert supervisor.codes() == [0]


def test_a_frozen_fork_server_cannot_hold_up_the_next_attempt(job: Job) -> None:
    supervisor = job("import os, time; print('here', flush=True)\nif os.environ['LAUNCHER_ATTEMPT'] == '1': time.sleep(60)")
    supervisor.start(wait=False)
    server = parent(supervisor.hear("started")[0]["pids"][0])
    wait_for(supervisor, "here")
    os.kill(server, signal.SIGSTOP)
    supervisor.send("kill", attempt=1)
    assert supervisor.codes() == [255]
    supervisor.start(2)
    assert supervisor.codes(2) == [0]


def test_a_rank_that_heeds_nothing_is_killed_after_its_grace(job: Job) -> None:
    supervisor = job("import signal; signal.signal(15, signal.SIG_IGN)\n" + FOREVER, stop_grace_s=0.3)
    supervisor.start()
    wait_for(supervisor, "here")
    supervisor.send("stop", attempt=1)
    assert supervisor.codes() == [-9]


def test_an_asking_rank_gets_sigterm_after_its_grace_and_sigkill_after_another(job: Job) -> None:
    script = """
import signal
from launcher.rank import should_stop
signal.signal(15, lambda *_: print("term", flush=True))
should_stop()
"""
    supervisor = job(script + FOREVER, stop_grace_s=2)
    supervisor.start()
    wait_for(supervisor, "here")
    supervisor.send("stop", attempt=1)
    assert supervisor.codes() == [-9]
    assert "term" in supervisor.log()


def test_the_same_agent_takes_another_run_in_another_environment(job: Job, tmp_path) -> None:
    supervisor = job("import os; print('threads', os.environ['OMP_NUM_THREADS'])")
    supervisor.start(3)
    assert supervisor.codes(3) == [0]
    script = "import os; print('threads', os.environ['OMP_NUM_THREADS'], os.environ['LAUNCHER_RUN_DIR'])"
    supervisor.run = make_run(tmp_path / "other", script, env={"OMP_NUM_THREADS": "3"})
    supervisor.start(1)
    assert supervisor.codes(1) == [0]
    assert supervisor.log() == f"threads 3 {supervisor.run.path}\n"


def test_a_start_waits_until_nothing_is_left_of_the_attempt_before(job: Job) -> None:
    supervisor = job("import os, time; print('here', flush=True)\nif os.environ['LAUNCHER_ATTEMPT'] == '1': time.sleep(60)")
    supervisor.start()
    wait_for(supervisor, "here")
    supervisor.start(2)
    assert supervisor.codes(1) == [-9]
    assert supervisor.codes(2) == [0]


def test_env_references_are_read_on_the_node(job: Job) -> None:
    supervisor = job(
        "import os; print(os.environ['MINE'])", env={"MINE": "<${env:THEIRS}>${env}$"}, caller={"THEIRS": "a ${env:X} b"}
    )
    supervisor.start()
    assert supervisor.codes() == [0]
    assert supervisor.log() == "<a ${env:X} b>${env}$\n"


def test_an_unset_reference_is_trouble_that_names_it(job: Job) -> None:
    supervisor = job(env={"MINE": "${env:NOWHERE}"})
    supervisor.warm()
    trouble = supervisor.hear("trouble")[0]
    assert trouble["what"] == "environment"
    assert trouble["message"] == "env.MINE refers to ${env:NOWHERE}, which is not set on this node. Export NOWHERE before launch"


def test_a_run_directory_that_is_not_seen_is_trouble(job: Job, tmp_path) -> None:
    supervisor = job()
    supervisor.send("warm", run_dir=str(tmp_path / "elsewhere"), node=0)
    assert "every node must see the run directory" in supervisor.hear("trouble", what="unshared")[0]["message"]


@pytest.mark.parametrize("body", ["raise ValueError('no')", "import nothing_like_it", "import sys; sys.exit(3)"])
def test_a_preload_that_fails_is_left_to_the_rank(body: str, job: Job, tmp_path) -> None:
    (tmp_path / "broken_module.py").write_text(body)
    supervisor = job("print('fine')", preload=["broken_module"], caller={"PYTHONPATH": str(tmp_path)})
    supervisor.start()
    assert supervisor.codes() == [0]
    assert "broken_module could not be imported ahead" in supervisor.run.node_log(1, 0).read_text()


def test_a_preload_that_dies_is_trouble_not_a_hang(job: Job, tmp_path) -> None:
    (tmp_path / "deadly.py").write_text("import os; os.abort()")
    supervisor = job(preload=["deadly"], caller={"PYTHONPATH": str(tmp_path)})
    supervisor.start(wait=False)
    assert "died while it imported" in supervisor.hear("trouble", attempt=1)[0]["message"]


def test_users_modules_beside_the_working_directory_do_not_shadow(job: Job, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "random.py").write_text("raise SystemExit('shadowed')")
    monkeypatch.chdir(tmp_path)
    supervisor = job("print('fine')")
    supervisor.start()
    assert supervisor.codes() == [0]


def test_a_long_tmpdir_does_not_matter(job: Job, tmp_path) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    supervisor = job("import tempfile; print(tempfile.gettempdir())", caller={"TMPDIR": str(deep)})
    supervisor.start()
    assert supervisor.codes() == [0]
    assert supervisor.log() == f"{deep}\n"


def test_a_share_of_the_cores(job: Job) -> None:
    core = min(os.sched_getaffinity(0))
    supervisor = job("import os; print(os.sched_getaffinity(0))", cpus=[core])
    supervisor.start()
    assert supervisor.codes() == [0]
    assert supervisor.log() == f"{{{core}}}\n"


def test_a_program_needs_no_python(job: Job) -> None:
    supervisor = job(
        kind="program",
        target="sh",
        argv=["-c", 'echo $RANK of $WORLD_SIZE "$1"; ls /proc/self/fd | wc -l; exit 4', "sh", "a  b"],
        preload=[],
    )
    supervisor.start(ranks=2)
    assert supervisor.codes(ranks=2) == [4, 4]
    assert supervisor.log(1) == "1 of 2 a  b\n4\n"


def test_a_program_that_is_not_there_says_so(job: Job) -> None:
    supervisor = job(kind="program", target="no-such-program")
    supervisor.start()
    assert supervisor.codes() == [1]
    assert supervisor.error()["exception"] == "FileNotFoundError"
    assert "no-such-program" in supervisor.error()["message"]


def test_the_built_in_worker_is_never_sent_sigterm(job: Job) -> None:
    script = """
import signal, sys, time
from launcher.rank import should_stop
signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))
print("here", flush=True)
while not should_stop():
    time.sleep(0.01)
time.sleep(0.7)  # longer than both its graces
sys.exit(75)
"""
    supervisor = job(script, kind="worker", target="train", stop_grace_s=0.1)
    supervisor.start()
    wait_for(supervisor, "here")
    supervisor.send("stop", attempt=1)
    assert supervisor.codes() == [75]
    assert not supervisor.run.rank_error(1, 0).exists()


def test_a_rendezvous_that_dies_is_told_at_once(job: Job) -> None:
    supervisor = job(preload=TORCH)
    supervisor.warm()
    supervisor.store()
    until = time.monotonic() + PATIENCE_S
    while not (found := rendezvous(supervisor.process.pid)) and time.monotonic() < until:
        supervisor.read(0.1)
    found[0].kill()
    assert "rendezvous store" in supervisor.hear("trouble", what="agent", attempt=1)[0]["message"]


def rendezvous(wrapper: int) -> list[psutil.Process]:
    """The one of the fork server's children that listens; another looks at what the node is."""
    everyone = psutil.Process(wrapper).children(recursive=True)
    servers = [each.pid for each in everyone if "multiprocessing.forkserver" in " ".join(each.cmdline())]
    return [each for each in everyone if each.ppid() in servers and listens(each)]


def listens(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return any(each.status == psutil.CONN_LISTEN for each in process.net_connections())
    return False
