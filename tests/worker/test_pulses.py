"""What takes long in a training without being a step tells the hang watch that there is progress."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher import rank
from launcher.worker.checkpoint import pulsing


def test_writing_a_checkpoint_pulses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    channel = rank.Channel(rank.channel_file(tmp_path, 0), create=True)
    monkeypatch.setenv(rank.FOLDER, str(tmp_path))
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setattr(rank, "_opened_by", None)
    assert [bytes(chunk) for chunk in pulsing(iter([memoryview(b"a"), memoryview(b"b")]))] == [b"a", b"b"]
    assert channel.pulses == 2
    monkeypatch.setattr(rank, "_opened_by", None)
