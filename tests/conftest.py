"""What holds for every test: a clean environment, and no real W&B."""

from __future__ import annotations

import signal

import pytest

# Where the tests run in the background of a shell, SIGINT is ignored, by every command that they start as well.
signal.signal(signal.SIGINT, signal.default_int_handler)


MACHINES = ("cluster", "park")
"""Fixtures whose tests take turns: there is one of each."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Under `-n --dist loadgroup`, tests of a file stay together, as its fixtures are made once; so do all that share machines,
    and these begin: they take longest."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    groups = {item: next((name for name in MACHINES if name in fixtures(item)), str(item.path)) for item in items}
    for item, group in groups.items():
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: groups[item] not in MACHINES)


def fixtures(item: pytest.Item) -> list[str]:
    return getattr(item, "fixturenames", [])


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No variable of the caller's reaches a test: no rank's environment, no place for runs, no key, no memory of other runs."""
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "LAUNCHER_RUNS", "LAUNCHER_RUN_DIR",
                 "LAUNCHER_ATTEMPT", "LAUNCHER_CHANNEL", "WANDB_API_KEY", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / "state"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("NO_COLOR", "1")
