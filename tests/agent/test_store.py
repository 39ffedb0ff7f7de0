"""The rendezvous of an attempt, where it cannot be served."""

from __future__ import annotations

import selectors
import socket
from typing import Any

import pytest

from launcher.agent.store import Store


class Dies:
    """A fork server that dies of its next fork."""

    def fork(self, *_: Any) -> None:
        return None


def test_a_store_that_no_process_serves_is_told_of_and_takes_nobody() -> None:
    store, server = Store(selectors.DefaultSelector()), Dies()
    port = store.open(1, "localhost")
    assert not store.serve(server)  # type: ignore[arg-type]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    assert store.serve(server)  # type: ignore[arg-type]  # told once
    assert not store.died()
