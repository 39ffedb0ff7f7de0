"""The rendezvous of one attempt: a TCPStore of its own, so that no attempt reads what another wrote.

The agent binds the socket, so that its port is known and taken before torch is; a child of the fork server serves it. Ranks that
come early wait in the socket's queue.
"""

from __future__ import annotations

import selectors
import signal
import socket
from contextlib import suppress
from functools import partial
from multiprocessing.context import ForkServerProcess

from launcher.agent import preload
from launcher.agent.forkserver import ForkServer
from launcher.agent.orphans import die_with_parent

LOOPBACK = ("127.0.0.1", "localhost")
BACKLOG = 4096


def listen(host: str) -> socket.socket:
    """A listening socket on a free port; open to other machines only where the ranks come from there."""
    if host in LOOPBACK:
        return socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG)
    return socket.create_server(("", 0), backlog=BACKLOG)


class Store:
    """The newest attempt's. It outlives this node's ranks: those of other nodes may still be in it."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self.selector = selector
        """Wakes up when the store ends."""
        self.attempt = 0
        self.listener: socket.socket | None = None
        """Where nobody serves it yet."""
        self.process: ForkServerProcess | None = None

    def open(self, attempt: int, host: str) -> int:
        """Ends the store before it. Returns the port."""
        self.close()
        self.attempt, self.listener = attempt, listen(host)
        return int(self.listener.getsockname()[1])

    def serve(self, server: ForkServer) -> bool:
        """Where it is not served yet. False where the fork server died of it (no memory, too many processes)."""
        if self.listener is None:
            return True
        self.process = server.fork(serve_in_fork, self.listener)
        if self.process is not None:
            self.selector.register(self.process.sentinel, selectors.EVENT_READ, self.selector.unregister)
        self.listener.close()
        self.listener = None
        return self.process is not None

    def died(self) -> bool:
        """By itself, or killed by others: ranks that are still to meet would wait in vain."""
        return self.process is not None and self.process.exitcode is not None

    def close(self) -> None:
        if self.listener is not None:
            self.listener.close()
            self.listener = None
        if self.process is not None:
            with suppress(KeyError):  # it has ended, and is looked at no more
                self.selector.unregister(self.process.sentinel)
            self.process.kill()
            self.process = None


def serve_in_fork(listener: socket.socket) -> None:
    """In a child of the fork server, until it is killed."""
    die_with_parent(preload.server)
    held = torchs_store(listener), listener  # it serves as long as it is held
    while held:
        signal.pause()


def torchs_store(listener: socket.socket) -> object | None:
    """None where there is no torch: then no ranks will meet either."""
    try:
        from torch.distributed import TCPStore  # type: ignore[attr-defined]
    except ImportError:
        return None
    port = listener.getsockname()[1]
    serve = partial(TCPStore, "127.0.0.1", port, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach())
    try:
        return serve()
    except NotImplementedError:  # torch 2.7: only its older server takes a socket that is open already
        return serve(use_libuv=False)
