"""What holds for every test: a clean environment, no real W&B, no haste, and which of them stay together side by side."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("without haste", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("without haste")

# In the background of a shell SIGINT is ignored, by every command that the tests start as well; under nohup, SIGHUP is.
signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)  # heard and passed over here, and no longer ignored in what is started


MACHINES = ("tests/slurm", "tests/hosts")
"""Folders whose tests share machines, and take turns."""


def together(nodeid: str) -> str:
    """What is not torn apart under `pytest -n 3`: tests that share machines, or those of a file, whose fixtures are made once."""
    file = nodeid.partition("::")[0]
    return next((folder for folder in MACHINES if file.startswith(folder)), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    # Not `--dist loadgroup`: xdist 3.8 passes over the groups under pytest 9.2.
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return together(nodeid)

    config.option.loadscopereorder = False  # but as they were collected
    return Together(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Beside others, what takes longest begins."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: together(item.nodeid) not in MACHINES)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No variable of the caller's reaches a test: no rank's environment, no place for runs, no key, no memory of other runs."""
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "LAUNCHER_RUNS", "LAUNCHER_RUN_DIR",
                 "LAUNCHER_ATTEMPT", "LAUNCHER_CHANNEL", "WANDB_API_KEY", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / "state"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("NO_COLOR", "1")
