"""Real processes that form a world, and runs for them to train."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import pickle
import socket
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from launcher.load import dump_job, parse_job
from launcher.rundir import RunDir
from launcher.worker.build import build
from launcher.worker.job import read_job
from launcher.worker.world import World, joined

HERE = str(Path(__file__).parent)
RANK_MAY_TAKE_S = 240
MANY_MAY_TAKE_S = 500
"""A rank that trains all that a module looks at."""
PORTS = iter(range(20_000 + 1000 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")), 32_000))
"""Below those that the kernel gives to whoever asks for any: nobody has it before rank 0. Apart for each pytest worker."""


def free_port() -> int:
    for port in PORTS:
        with socket.socket() as listening, suppress(OSError):
            listening.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def on_ranks(world_size: int, function: Callable[..., Any], *arguments: Any, may_take_s: float = RANK_MAY_TAKE_S) -> list[Any]:
    """function(*arguments) on every rank of a new world; what each returned, or an AssertionError with what it raised."""
    context = multiprocessing.get_context("forkserver")
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        processes = [
            context.Process(target=rank_main, args=(rank, world_size, port, folder, function, arguments))
            for rank in range(world_size)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join(may_take_s)
        stuck = [process for process in processes if process.is_alive()]
        for process in stuck:
            process.kill()
            process.join()
        outcomes = [Path(folder, str(rank)) for rank in range(world_size)]
        ends = [f"ended with {process.exitcode} and without an outcome" for process in processes]
        loaded = [
            pickle.loads(path.read_bytes()) if path.exists() else (False, end) for path, end in zip(outcomes, ends, strict=True)
        ]
    failures = [f"rank {rank}: {value}" for rank, (fine, value) in enumerate(loaded) if not fine]
    assert not failures, "\n".join(failures)
    return [value for _, value in loaded]


def rank_main(
    rank: int, world_size: int, port: int, folder: str, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    faulthandler.enable()
    torch.set_num_threads(1)
    multiprocessing.set_start_method(None, force=True)  # a child of a fork server would start its own for loader processes
    own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world_size, "LOCAL_WORLD_SIZE": world_size}
    os.environ.update({name: str(value) for name, value in own.items()}, MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    try:
        outcome = (True, function(*arguments))
    except BaseException:
        outcome = (False, traceback.format_exc())
    Path(folder, f".{rank}").write_bytes(pickle.dumps(outcome))
    Path(folder, f".{rank}").rename(Path(folder, str(rank)))
    os._exit(0)


def run_of(folder: Path, job: dict[str, Any]) -> RunDir:
    """A run directory as `launch --prepare` would leave it, as far as a rank reads it."""
    import yaml

    run = RunDir(folder)
    run.path.mkdir(parents=True, exist_ok=True)
    run.job.write_text(dump_job(parse_job(yaml.safe_dump(job), workdir=HERE)))
    return run


def a_job(**train: Any) -> dict[str, Any]:
    """A small training on the CPU with one thread; `train` replaces what it names."""
    small: dict[str, Any] = {
        "model": {"target": "mlp", "in_features": 64, "hidden": [32], "out_features": 10},
        "loss": "cross_entropy",
        "optimizer": {"target": "sgd", "lr": 0.1, "momentum": 0.9},
        "data": {"train": {"target": "digits", "flatten": True}, "batch_size": 100},
        "max_steps": 5,
    }
    return {
        "name": "small",
        "seed": 3,
        "resources": {"threads": 1, "device": "cpu"},
        "train": small | train,
        "log": {"plots": False},
    }


def in_world(runs: list[RunDir], function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """On a rank: function(training, run, *arguments) for each run's training, all in one world."""
    with joined(read_job(runs[0])) as world:
        return [function(build(run, read_job(run), world), run, *arguments) for run in runs]


def train_run(run: RunDir) -> int:
    """On a rank: trains the run, with the exit code."""
    from launcher.worker.train import train

    job = read_job(run)
    with joined(job) as world:
        return train(run, job, world)


ALONE = World()
