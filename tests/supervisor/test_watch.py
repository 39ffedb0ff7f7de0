"""Hung or slow, who keeps the others waiting, and which node is unlike the others: decisions, as tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from launcher.plan import Node
from launcher.rundir import RunDir
from launcher.supervisor.agreement import odd_one_out
from launcher.supervisor.cause import Failure
from launcher.supervisor.inquiry import hung
from launcher.supervisor.ladder import Budget, decide
from launcher.supervisor.stacks import fold, place_of
from launcher.supervisor.watch import Watch

TIMEOUT_S = 10.0
Told = tuple[float, int, int, int]
"""When, step, pulses, bytes of output."""


def watched(told: list[Told], until: float, *, agents: int = 1, every_s: float = 0.5) -> float | None:
    """When it counts as hung, looked at twice a second."""
    watch, pending = Watch(TIMEOUT_S, 0.0), list(told)
    for look in range(int(until / every_s) + 1):
        now = look * every_s
        while pending and pending[0][0] <= now:
            at, step, pulses, size = pending.pop(0)
            watch.hear(pulses % agents, {"step": step, "pulses": pulses, "bytes": size}, at)
        if watch.hangs(now):
            return now
    return None


@pytest.mark.parametrize(
    ("told", "hung_at"),
    [
        pytest.param([], 30.0, id="nothing ever: three times as long"),
        pytest.param([(29.0, 0, 1, 0)], 39.0, id="a long first step"),
        pytest.param([(5.0, 0, 1, 0), (14.0, 1, 2, 0)], 24.0, id="steps, then none"),
        pytest.param([(at, 1, at, 0) for at in range(5, 60, 9)], None, id="an evaluation pulses without steps"),
        pytest.param([(at, -1, 0, at) for at in range(5, 60, 20)], None, id="a script that only prints"),
        pytest.param([(5.0, -1, 0, 80)], 35.0, id="it printed, then nothing more"),
        pytest.param([(5.0, 0, 1, 0), (9.0, 0, 1, 50), (12.0, 0, 1, 99)], 15.0, id="prints do not count for one that pulses"),
    ],
)
def test_slow_is_not_hung(told: list[Told], hung_at: float | None) -> None:
    assert watched(told, 59.0) == hung_at


def test_one_rank_that_makes_progress_is_enough() -> None:
    watch = Watch(TIMEOUT_S, 0.0)
    for now in range(1, 60):
        watch.hear(now % 2, {"step": 0 if now % 2 else now, "pulses": 1 if now % 2 else now}, float(now))
        assert not watch.hangs(float(now))


def test_it_can_be_switched_off() -> None:
    assert not Watch(0.0, 0.0).hangs(1e6)


def test_a_supervisor_that_stood_still_blames_nobody() -> None:
    watch = Watch(TIMEOUT_S, 0.0)
    watch.hear(0, {"step": 1, "pulses": 1}, 1.0)
    assert not watch.hangs(2.0)
    assert not watch.hangs(500.0)
    assert not watch.hangs(504.0)
    assert not watch.hangs(508.9)
    assert watch.hangs(509.0)


SITE = "/env/lib/python3.11/site-packages"
STD = "/usr/lib/python3.11"
DIST = f"{SITE}/torch/distributed/distributed_c10d.py"
LOADER = f"{SITE}/torch/utils/data/dataloader.py"
AGENT = "/src/launcher/agent/entry.py"


def stack(*frames: tuple[str, int, str], thread: str = "Current thread") -> str:
    lines = [f'  File "{file}", line {line} in {function}' for file, line, function in (*frames, (AGENT, 9, "execute"))]
    return (
        "\n".join([f"{thread} 0x00007f0000000000 (most recent call first):", *lines, '  File "<string>", line 1 in <module>'])
        + "\n"
    )


ALL_REDUCE = stack(
    (DIST, 39, "all_reduce"), (f"{SITE}/torch/distributed/c10d_logger.py", 8, "wrapper"), ("/w/train.py", 20, "step")
)
IN_LOADER = stack(("/w/data/user.py", 41, "__getitem__"), (LOADER, 700, "_next_data"), ("/w/train.py", 18, "main"))
LOOP = (f"{SITE}/torch/utils/data/_utils/worker.py", 349, "_worker_loop")
WAITS_FOR_LOADER = "\n-- process 77\n".join([
    stack((f"{STD}/multiprocessing/queues.py", 113, "get"), (LOADER, 1293, "_try_get_data"), ("/w/train.py", 18, "main")),
    stack((f"{STD}/multiprocessing/queues.py", 113, "get"), LOOP, ("/w/train.py", 18, "main")),
    stack(("/w/data/user.py", 41, "__getitem__"), LOOP, ("/w/train.py", 18, "main")),
])  # fmt: skip
GATHER = stack((DIST, 50, "all_gather"), (DIST, 42, "all_gather_object"), ("/w/train.py", 23, "<module>"))
INIT = stack((DIST, 5, "_store_based_barrier"), (DIST, 4, "init_process_group"), ("/w/train.py", 3, "<module>"))
BACKWARD = stack((f"{SITE}/torch/autograd/graph.py", 8, "_engine_run_backward"), (f"{SITE}/torch/_tensor.py", 6, "backward"),
                 ("/w/train.py", 30, "step"))  # fmt: skip
JOINS = stack((f"{STD}/threading.py", 11, "join"), ("/w/train.py", 9, "finish"))
BUILTIN = stack(
    (DIST, 39, "all_reduce"), ("/src/launcher/worker/world.py", 40, "sum"), ("/src/launcher/worker/train.py", 60, "train")
)
WRITES = stack((f"{STD}/threading.py", 11, "join"), ("/src/launcher/worker/checkpoint.py", 99, "wait"))


@pytest.mark.parametrize(
    ("text", "what", "where", "waits"),
    [
        (ALL_REDUCE, "all_reduce", "/w/train.py:20", True),
        (IN_LOADER, "DataLoader", "/w/data/user.py:41", False),
        (GATHER, "all_gather_object", "/w/train.py:23", True),
        (INIT, "init_process_group", "/w/train.py:3", True),
        (BACKWARD, "backward", "/w/train.py:30", True),
        (WAITS_FOR_LOADER, "DataLoader", "/w/data/user.py:41", False),
        (JOINS, "finish", "/w/train.py:9", False),
        (BUILTIN, "all_reduce", None, True),
        (WRITES, "the checkpoint", None, False),
        (stack(("/w/bg.py", 1, "run"), thread="Thread") + "\n" + ALL_REDUCE, "all_reduce", "/w/train.py:20", True),
        (stack(("/src/launcher/worker/feed.py", 7, "pull")), "pull", "/src/launcher/worker/feed.py:7", False),
        ("", "gave no answer (nothing was written)", None, False),
        ("no answer: it is stopped (SIGSTOP)\n", "gave no answer (it is stopped (SIGSTOP))", None, False),
    ],
)  # fmt: skip
def test_a_place_has_a_name_that_people_use(text: str, what: str, where: str | None, waits: bool) -> None:
    place = place_of(text)
    assert (place.what, place.where, place.waits) == (what, where, waits)


@pytest.mark.parametrize(
    ("texts", "line", "odd"),
    [
        ([ALL_REDUCE] * 3 + [IN_LOADER] + [ALL_REDUCE] * 4, "7 ranks in all_reduce, rank 3 in DataLoader: data/user.py:41", (3,)),
        ([ALL_REDUCE, ALL_REDUCE], "2 ranks in all_reduce: train.py:20", None),
        ([ALL_REDUCE, GATHER], "rank 0 in all_reduce: train.py:20, rank 1 in all_gather_object: train.py:23", None),
        ([ALL_REDUCE, JOINS, JOINS], "2 ranks in finish: train.py:9, rank 0 in all_reduce", (1, 2)),
        ([ALL_REDUCE, "no answer: it is stopped (SIGSTOP)"],
         "rank 0 in all_reduce, rank 1 gave no answer (it is stopped (SIGSTOP))", (1,)),
        ([JOINS, IN_LOADER, ALL_REDUCE],
         "rank 0 in finish: train.py:9, rank 1 in DataLoader: data/user.py:41, rank 2 in all_reduce", None),
        ([], "where its ranks are is not known", None),
    ],
)  # fmt: skip
def test_all_ranks_in_one_line(texts: list[str], line: str, odd: tuple[int, ...] | None) -> None:
    folded = fold(dict(enumerate(texts)))
    assert folded.line("/w") == line
    assert (folded.odd.ranks if folded.odd else None) == odd


def test_many_places_are_not_all_named() -> None:
    texts = {rank: stack((f"/w/f{rank}.py", 1, f"f{rank}")) for rank in range(9)}
    assert fold(texts).line("/w").endswith("rank 3 in f3: f3.py:1, and 5 more elsewhere")


def test_the_odd_one_is_found_on_its_node(tmp_path: Path) -> None:
    members = [
        Node(index=index, host=f"h{index}", address="", argv=(), env={}, cpus=None, local_world_size=2) for index in (0, 2)
    ]
    told = Failure(attempt=1, kind="hang", step=7)
    failure = hung(RunDir(tmp_path), told, fold({0: ALL_REDUCE, 1: ALL_REDUCE, 2: IN_LOADER, 3: ALL_REDUCE}), members,
                   quiet_s=600, root="/w")  # fmt: skip
    assert (failure.rank, failure.node, failure.host, failure.where) == (2, 2, "h2", "/w/data/user.py:41")
    assert failure.sentence() == (
        "rank 2 on node 2 (h2) at step 7: no progress for 600 s: 3 ranks in all_reduce, rank 2 in DataLoader: data/user.py:41"
    )
    assert (
        hung(RunDir(tmp_path), told, fold({}), members, quiet_s=1, root="")
        .sentence()
        .startswith("all ranks at step 7: no progress")
    )


@pytest.mark.parametrize(("engine", "pulses"), [("launcher", 0), ("launcher", 5), ("torchrun", 5)])
def test_a_hang_is_nobodys_error_and_is_tried_again(engine: str, pulses: int) -> None:
    failure = Failure(attempt=1, kind="hang", message="no progress", pulses=pulses)
    decided = decide(failure, Budget(allowed=3), engine=engine, age_s=900, progress=-1, builtin=True)
    assert (decided.action, decided.counts) == ("restart", True)


ALIKE = {"launcher": "0.1.0", "python": "3.11.7", "torch": "2.14.1", "job": "aa", "code": "bb", "cpus": 8, "gpus": 2}
HOSTS = {0: "h0", 1: "h1", 2: "h2"}


@pytest.mark.parametrize(
    ("changes", "node", "words"),
    [
        ({}, None, ""),
        ({1: {"torch": "2.9.0"}}, 1, "torch 2.9.0 on h1, torch 2.14.1 on the other nodes: install the same"),
        ({0: {"python": "3.12.1"}}, 0, "Python 3.12.1 on h0"),
        ({2: {"code": "cc"}}, 2, "its copy of the code is another one"),
        ({1: {"job": "old"}}, 1, "its file system shows an old job.yaml"),
        ({0: {"code": None}}, None, ""),
        ({1: {"cpus": 1}}, 1, "1 CPU to use on h1, and its 2 ranks want 8"),
        ({0: {"cpus": 1}, 1: {"cpus": 1}, 2: {"cpus": 1}}, None, ""),
        ({2: {"gpus": 1}}, 2, "1 GPU to use on h2, and its 2 ranks want 2"),
    ],
)
def test_the_odd_one_out_is_named(changes: dict[int, dict[str, Any]], node: int | None, words: str) -> None:
    facts = {each: {**ALIKE, **changes.get(each, {})} for each in HOSTS}
    odd = odd_one_out(facts, HOSTS, ranks=2, threads=4, cuda=True)
    assert (odd.node if odd else None) == node
    assert words in (odd.message if odd else "")


def test_of_two_that_differ_it_is_the_later_one() -> None:
    odd = odd_one_out({0: ALIKE, 1: {**ALIKE, "torch": "3.0"}}, HOSTS, ranks=2, threads=1, cuda=False)
    assert odd is not None
    assert odd.node == 1
