"""A supervisor that is only two pipes: it gives a real agent orders and reads its news."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from launcher.protocol import decode
from launcher.rundir import RunDir
from tests.patience import PATIENCE_S

UNUSED_PORT = 1
TORCH = ("torch", "torch.distributed")
"""What jobs preload whose ranks meet."""


class Supervisor:
    def __init__(self, run: RunDir, environment: dict[str, str] | None = None, *, number: int = 0) -> None:
        self.run, self.number = run, number
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "launcher.agent", "--id", str(number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            start_new_session=True, bufsize=0, env={**os.environ, **(environment or {})},
        )  # fmt: skip
        self.news: list[dict[str, Any]] = []
        self.pending = b""
        self.pinged = 0.0
        # It is pinged in `read` alone, and would end itself in between. No attempt has this number: only the patience is taken.
        self.send("stop", attempt=0, silence_s=PATIENCE_S)

    def send(self, kind: str, **order: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"kind": kind, "to": [self.number], **order}).encode() + b"\n")

    def read(self, timeout_s: float) -> bool:
        """Takes in what comes; False at the stream's end."""
        assert self.process.stdout is not None
        if time.monotonic() - self.pinged > 1:
            self.pinged = time.monotonic()
            with contextlib.suppress(BrokenPipeError):
                self.send("ping")
        if not select.select([self.process.stdout], [], [], timeout_s)[0]:
            return True
        data = os.read(self.process.stdout.fileno(), 1 << 16)
        *lines, self.pending = (self.pending + data).split(b"\n")
        self.news += [message for line in lines if (message := decode(line)) is not None]
        return bool(data)

    def hear(self, kind: str, *, count: int = 1, **expected: Any) -> list[dict[str, Any]]:
        """Waits for so many messages of a kind; they are taken out of the news."""
        until = time.monotonic() + PATIENCE_S
        while True:
            found = [m for m in self.news if m["kind"] == kind and all(m.get(key) == value for key, value in expected.items())]
            if len(found) >= count:
                self.news = [m for m in self.news if m not in found]
                return found
            assert time.monotonic() < until, f"no {kind} {expected}: {self.news}"
            assert self.read(0.2), f"the agent is gone: {self.news}"

    def warm(self, **more: Any) -> None:
        self.send("warm", **{"run_dir": str(self.run.path), **more})

    @property
    def meets(self) -> bool:
        """Whether the ranks need a rendezvous."""
        entry = json.loads(self.run.plan.read_text())["entry"]
        return "torch" in entry["preload"] or entry["engine"] == "torchrun"

    def store(self, attempt: int = 1) -> int:
        """The port of a new rendezvous."""
        self.send("store", attempt=attempt, host="127.0.0.1", world_size=1)
        return int(self.hear("store", attempt=attempt)[0]["port"])

    def start(self, attempt: int = 1, *, ranks: int = 1, base_rank: int = 0, wait: bool = True, **more: Any) -> None:
        order = {
            "run_dir": str(self.run.path), "attempt": attempt, "nodes": 1, "base_ranks": [base_rank],
            "local_world_size": ranks, "world_size": ranks,
            "store_host": "127.0.0.1", "restarts": attempt - 1, "max_restarts": 3, **more,
        }  # fmt: skip
        if "store_port" not in order:
            order["store_port"] = self.store(attempt) if self.meets else UNUSED_PORT
        self.send("start", **order)
        if wait:
            self.hear("started", attempt=attempt)

    def codes(self, attempt: int = 1, *, ranks: int = 1) -> list[int]:
        """The exit codes by rank, once nothing is left of the attempt."""
        exits = self.hear("exited", count=ranks, attempt=attempt)
        self.hear("swept", attempt=attempt)
        return [message["code"] for message in sorted(exits, key=lambda message: message["rank"])]

    def log(self, rank: int = 0, attempt: int = 1) -> str:
        return self.run.rank_log(attempt, rank).read_text()

    def error(self, rank: int = 0, attempt: int = 1) -> Any:
        return json.loads(self.run.rank_error(attempt, rank).read_text())

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(5)
            raise


def make_run(
    folder: Path, script: str = "", *, env: dict[str, str] | None = None, cpus: list[int] | None = None, **entry: Any
) -> RunDir:
    """A run directory in `folder` with a plan as the agent reads it, and the script beside it as work/train.py."""
    run, work = RunDir(folder / "run"), folder / "work"
    run.path.mkdir(parents=True)
    work.mkdir()
    (work / "train.py").write_text(script)
    entry = {
        "kind": "script", "target": str(work / "train.py"), "argv": [], "cwd": str(work),
        "preload": [], "stop_grace_s": 30.0, "engine": "launcher", "max_restarts": 3, **entry,
    }  # fmt: skip
    node = {"index": 0, "host": "localhost", "argv": [], "env": {}, "cpus": cpus, "binding": None, "local_world_size": 1}
    plan = {"entry": entry, "nodes": [node], "bind": False, "world": {"device": "cpu"}}
    run.plan.write_text(json.dumps({**plan, "env": {"OMP_NUM_THREADS": "1", **(env or {})}}))
    return run
