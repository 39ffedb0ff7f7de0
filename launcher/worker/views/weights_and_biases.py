"""The rows in Weights & Biases: one run there for one run here, over all attempts.

In a thread of its own: a dead or hanging endpoint holds up neither the other views nor the training.
"""

from __future__ import annotations

import netrc
import os
import queue
import re
import shutil
import ssl
import threading
import traceback
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlparse
from urllib.request import Request, urlopen

from launcher.rundir import RunDir, write_atomic
from launcher.spec import Job
from launcher.spec.log import Wandb
from launcher.worker.views.follow import Row, values

PROBE_TIMEOUT_S = 5
INIT_TIMEOUT_S = 60
LONGEST_ID = 128
PUBLIC = "https://api.wandb.ai"


class WeightsAndBiases:
    def __init__(self, run: RunDir, job: Job) -> None:
        self.run, self.wanted = run, job.log.wandb or Wandb()
        self.config = job.model_dump(mode="json", exclude={"env"})  # which may hold secrets
        self.batches: queue.SimpleQueue[list[Row] | int] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._serve, name="wandb", daemon=True)
        self.connected = self.complete = False
        self.thread.start()

    def send(self, rows: list[Row]) -> None:
        if rows:
            self.batches.put(rows)

    def finish(self, timeout_s: float, exit_code: int) -> bool:
        """Whether W&B, or its file for later, has taken everything in time."""
        self.batches.put(exit_code)
        self.thread.join(timeout_s)
        if self.connected and not self.complete:
            print(f"W&B has not taken everything yet. It is kept in {self.run.wandb}: send it with 'wandb sync FOLDER'")
        elif not self.complete:
            print(f"W&B has taken nothing. The rows are in {self.run.metrics}, and the next attempt sends them")
        return self.complete

    def _serve(self) -> None:
        older = list(self.run.wandb.glob("offline-run-*"))
        try:
            there = connect(self.run, self.wanted, self.config)
            self.connected = True
            while isinstance(batch := self.batches.get(), list):
                for row in batch:
                    if row["step"] >= there.step:  # it has the others from an earlier attempt
                        there.log(values(row), step=row["step"], commit=True)
            there.finish(exit_code=batch)
            disconnect()
            self.complete = True
            clear(older if there.offline else [])
        except Exception:  # whatever W&B raises is its own affair
            traceback.print_exc()


def clear(folders: list[Path]) -> None:
    """Removes what earlier attempts kept to be sent later: a later one keeps the whole history, and two would show rows twice."""
    for folder in folders:
        if not list(folder.glob("*.synced")):
            shutil.rmtree(folder, ignore_errors=True)


def connect(run: RunDir, wanted: Wandb, config: dict[str, Any]) -> Any:
    """A W&B run; an offline one where there is no key, or no answer."""
    mode = os.environ.get("WANDB_MODE") or ("online" if has_key() else "offline")
    if mode != "online":
        return init(run, wanted, config, mode)
    try:
        probe(endpoint())
        return init(run, wanted, config, mode)
    except Exception as error:  # of the network, or whatever W&B raises
        print(f"W&B cannot take the run ({error}): it is kept in {run.wandb}. Send it later with 'wandb sync FOLDER'", flush=True)
        return init(run, wanted, config, "offline")


def probe(url: str) -> None:
    """Whether anybody answers: W&B itself would go on asking for minutes, and keep nothing meanwhile. Raises OSError."""
    question = Request(f"{url}/graphql", data=b'{"query": "{ __typename }"}', headers={"Content-Type": "application/json"})  # noqa: S310
    try:
        with urlopen(question, timeout=PROBE_TIMEOUT_S):  # noqa: S310  # the scheme is the user's own setting
            pass
    except HTTPError as error:
        if error.code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise
    except URLError as error:
        if not isinstance(error.reason, ssl.SSLError):  # W&B has certificates of its own
            raise


def init(run: RunDir, wanted: Wandb, config: dict[str, Any], mode: Any) -> Any:
    import wandb

    return wandb.init(
        id=run_id(run),
        name=wanted.name or run.full_id,
        project=wanted.project,
        entity=wanted.entity,
        group=wanted.group,
        tags=wanted.tags,
        config=config,
        dir=run.path,
        mode=mode,
        resume="allow",
        settings=wandb.Settings(init_timeout=INIT_TIMEOUT_S, console="off", disable_code=True),
    )


def disconnect() -> None:
    """Ends W&B's own process too."""
    import wandb

    wandb.teardown()


def run_id(run: RunDir) -> str:
    """W&B's name for the run: kept in the run directory, so that it stays the same where the directory is renamed."""
    path = run.wandb / "launcher-id"
    if not path.exists():
        write_atomic(path, re.sub(r"[^A-Za-z0-9._-]", "-", run.full_id)[-LONGEST_ID:])
    return path.read_text()


def has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    path = Path(os.path.expanduser(os.environ.get("NETRC", "~/.netrc")))  # noqa: PTH111  # works without a home
    try:
        return netrc.netrc(path).authenticators(urlparse(endpoint()).hostname or "") is not None
    except (OSError, netrc.NetrcParseError):
        return False


def endpoint() -> str:
    return os.environ.get("WANDB_BASE_URL", PUBLIC).rstrip("/")
