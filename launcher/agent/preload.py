"""What the fork server imports before it serves: this module, which imports what the job uses and says when it is done.

The standard library's own preload swallows ImportError and dies of every other exception; here each module's trouble is kept,
and a rank imports it itself and fails where its own log shows it.
"""

from __future__ import annotations

import gc
import importlib
import json
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from launcher.agent.orphans import die_with_parent

SETTINGS = "LAUNCHER_PRELOAD"
NOT_FOR_THE_SERVER = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that a queue sends to every process of a step. Blocked, not ignored: one that is meant for a rank just forked waits
until the rank has unblocked them."""
OURS = ("launcher.agent.entry", "launcher.agent.store", "multiprocessing.popen_forkserver")
"""What its children begin with."""

server = os.getpid()
main_process = multiprocessing.current_process()


def serve(settings: dict[str, object]) -> None:
    die_with_parent(int(str(settings["agent"])))
    signal.pthread_sigmask(signal.SIG_BLOCK, NOT_FOR_THE_SERVER)
    modules = settings["modules"]
    assert isinstance(modules, list)
    gc.disable()  # what imports allocate stays: looking through it is a fourteenth of torch's import
    with cuda_untouched():
        for module in (*OURS, *modules):
            load(module)
    gc.freeze()  # nor do ranks look through it, which would copy the pages that they share
    gc.enable()
    ready = os.open(str(settings["ready"]), os.O_RDWR)  # write-only would wait for a reader
    os.write(ready, b"\n")
    os.close(ready)


@contextmanager
def cuda_untouched() -> Iterator[None]:
    """A package that asks at import whether there is a GPU would otherwise initialise CUDA, which no fork survives."""
    asked = "PYTORCH_NVML_BASED_CUDA_CHECK"
    if asked in os.environ:
        yield
        return
    os.environ[asked] = "1"
    yield
    del os.environ[asked]


def load(module: str) -> None:
    try:
        importlib.import_module(module)
    except (Exception, SystemExit):
        sys.stderr.write(f"launcher: {module} could not be imported ahead of the ranks; each rank imports it itself.\n")
        traceback.print_exc()


if SETTINGS in os.environ:
    serve(json.loads(os.environ.pop(SETTINGS)))
