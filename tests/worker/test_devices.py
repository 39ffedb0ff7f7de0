from __future__ import annotations

import json
import socket
from pathlib import Path

import torch

from launcher.rundir import RunDir
from launcher.worker import devices
from launcher.worker.world import World


def test_each_attempt_keeps_which_rank_ran_where(tmp_path: Path) -> None:
    devices.keep(RunDir(tmp_path), World(attempt=3))
    (rank,) = json.loads((tmp_path / "logs/attempt-3/devices.json").read_text())
    expected = {"rank": 0, "host": socket.gethostname(), "device": "cpu", "threads": torch.get_num_threads()}
    assert expected.items() <= rank.items()
