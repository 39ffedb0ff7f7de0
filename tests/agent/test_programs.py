"""Ordinary programs, unchanged: what they do with `__main__`, with multiprocessing, and real ones from other projects' wheels."""

from __future__ import annotations

import pytest

from tests.agent.conftest import Job
from tests.agent.pipes import TORCH

PICKLES = """
import pickle, sys
from dataclasses import dataclass

@dataclass
class Point:
    x: int

def double(x):
    return 2 * x

if __name__ == "__main__":
    import beside
    from pack.inner import up
    import __main__
    assert pickle.loads(pickle.dumps(Point(3))) == Point(3)
    assert __main__.Point is Point
    assert (beside.VALUE, up()) == (5, 5)
"""
METHODS = """
    import multiprocessing as mp
    from concurrent.futures import ProcessPoolExecutor
    for method in ("fork", "spawn", "forkserver"):
        context = mp.get_context(method)
        with context.Pool(1) as pool:
            assert pool.map(double, [1, 2]) == [2, 4], method
        with ProcessPoolExecutor(1, mp_context=context) as executor:
            assert executor.submit(double, 4).result() == 8, method
    print("all methods")
"""
UNGUARDED = """
import os, torch
from torch.utils.data import DataLoader
print("once", os.environ["RANK"])
for batch in DataLoader(torch.arange(8), batch_size=4, num_workers=1):
    print(batch.tolist())
"""
RANDOM = """
import random, torch, numpy
print(torch.rand(1).item(), numpy.random.rand(), random.random())
"""


@pytest.mark.parametrize("kind", ["script", "module"])
def test_pickles_and_every_start_method(kind: str, job: Job) -> None:
    supervisor = job(PICKLES + METHODS, kind=kind, **({"target": "train"} if kind == "module" else {}))
    work = supervisor.run.path.parent / "work"
    (work / "beside.py").write_text("VALUE = 5")
    (work / "pack").mkdir()
    (work / "pack" / "inner.py").write_text("from .other import five as up")
    (work / "pack" / "other.py").write_text("def five(): return 5")
    supervisor.start()
    assert supervisor.codes() == [0], supervisor.log()
    assert supervisor.log().endswith("all methods\n")


def test_a_module_inside_a_package(job: Job) -> None:
    supervisor = job(kind="module", target="pack.train", argv=["x"])
    folder = supervisor.run.path.parent / "work" / "pack"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "other.py").write_text("VALUE = 5")
    (folder / "train.py").write_text("import sys\nfrom . import other\nprint(other.VALUE, __package__, sys.argv[1:])")
    supervisor.start()
    assert supervisor.codes() == [0]
    assert supervisor.log() == "5 pack ['x']\n"


def test_a_module_that_is_not_there_says_so(job: Job) -> None:
    supervisor = job(kind="module", target="pack.nothing")
    supervisor.start()
    assert supervisor.codes() == [1]
    assert "No module named 'pack'" in supervisor.log()


def test_a_script_that_is_not_there_says_so(job: Job) -> None:
    supervisor = job(target="/no/such/train.py")
    supervisor.start()
    assert supervisor.codes() == [1]
    assert "/no/such/train.py" in supervisor.error()["message"]


def test_a_folder_with_a_main(job: Job) -> None:
    supervisor = job()
    folder = supervisor.run.path.parent / "work" / "app"
    folder.mkdir()
    (folder / "__main__.py").write_text("import sys, part; print(part.VALUE, __name__, sys.argv[1:])")
    (folder / "part.py").write_text("VALUE = 5")
    plan = supervisor.run.plan
    plan.write_text(plan.read_text().replace("work/train.py", "work/app"))
    supervisor.start()
    assert supervisor.codes() == [0], supervisor.log()
    assert supervisor.log() == "5 __main__ []\n"


def test_loader_workers_of_an_unguarded_script_do_not_run_it_again(job: Job) -> None:
    supervisor = job(UNGUARDED, preload=TORCH)
    supervisor.start()
    assert supervisor.codes() == [0], supervisor.log()
    assert supervisor.log() == "once 0\n[0, 1, 2, 3]\n[4, 5, 6, 7]\n"


def test_what_was_imported_ahead_is_left_to_itself_by_a_ranks_garbage_collector(job: Job) -> None:
    supervisor = job("import gc\nprint(gc.isenabled(), gc.get_freeze_count() > 0)")
    supervisor.start()
    assert supervisor.codes() == [0]
    assert supervisor.log() == "True True\n"


@pytest.mark.parametrize("numpy", ["numpy", pytest.param("numpy.random", marks=pytest.mark.long)])
def test_ranks_and_attempts_do_not_share_a_random_stream(job: Job, numpy: str) -> None:
    supervisor = job(RANDOM, preload=["torch", numpy])
    for attempt in (1, 2):
        supervisor.start(attempt, ranks=2)
        assert supervisor.codes(attempt, ranks=2) == [0, 0]
    drawn = [supervisor.log(rank, attempt).split() for rank in (0, 1) for attempt in (1, 2)]
    assert all(len(set(column)) == 4 for column in zip(*drawn, strict=True))


def test_both_streams_and_children_append_to_one_log(job: Job) -> None:
    supervisor = job("import subprocess, sys\nprint('a')\nsys.stderr.write('b\\n')\nsubprocess.run(['echo', 'c'])\nprint('d')")
    supervisor.start()
    assert supervisor.codes() == [0]
    assert supervisor.log() == "a\nb\nc\nd\n"


@pytest.mark.parametrize("name", ["test_script", pytest.param("test_sync", marks=pytest.mark.long)])
def test_accelerates_own_scripts(name: str, job: Job) -> None:
    supervisor = job(kind="module", target=f"accelerate.test_utils.scripts.{name}", env={"ACCELERATE_USE_CPU": "true"},
                     preload=[*TORCH, "accelerate"])  # fmt: skip
    supervisor.start(ranks=2)
    assert supervisor.codes(ranks=2) == [0, 0], supervisor.log()
