from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from launcher.rundir import RunDir
from launcher.worker import devices
from launcher.worker.errors import WorkerError
from launcher.worker.world import World


def test_each_attempt_keeps_which_rank_ran_where(tmp_path: Path) -> None:
    devices.keep(RunDir(tmp_path), World(attempt=3))
    (rank,) = json.loads((tmp_path / "logs/attempt-3/devices.json").read_text())
    expected = {"rank": 0, "host": socket.gethostname(), "device": "cpu", "threads": torch.get_num_threads()}
    assert expected.items() <= rank.items()


def described(rank: int, **changes: Any) -> dict[str, Any]:
    return {"rank": rank, "world_size": 2, "host": f"h{rank}", "uuid": "GPU-1", "threads": 4, "torch": "2.14.1", **changes}


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (described(1, world_size=4), "rank 1 on h1 believes that there are 4 ranks, and there are 2"),
        (described(0, host="h1"), "2 ranks are rank 0, on h0 and h1"),
        (described(1, host="h0"), "rank 1 on h0 has the same GPU as rank 0"),
        (described(1, torch="2.9.0"), "rank 1 on h1 has torch 2.9.0; other ranks have 2.14.1"),
        (described(1, threads=1), "rank 1 on h1 has 1 threads, which change the last bits"),
    ],
)
def test_ranks_that_do_not_fit_together_are_named_before_the_first_step(second: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkerError, match=message) as error:
        devices.prove([described(0), second])
    assert error.value.kind == "environment"
    devices.prove([described(0), described(1), described(2)][:2])
    devices.prove([described(0, uuid=None), described(1, uuid=None, host="h0")])
