"""The rendezvous of one attempt: a TCPStore of its own, so that no attempt reads what another wrote.

The agent binds the socket, so that its port is known and taken before torch is; a child of the fork server serves it. Ranks that
come early wait in the socket's queue.
"""

from __future__ import annotations

import os
import signal
import socket
import sys

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


def serve_in_fork(listener: socket.socket) -> None:
    """In a child of the fork server, until it is killed."""
    from launcher.agent import preload

    die_with_parent(preload.server)
    serve(listener)


def serve(listener: socket.socket) -> None:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    port = listener.getsockname()[1]
    store = TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach())
    while store is not None:
        signal.pause()


if __name__ == "__main__":
    die_with_parent(int(sys.argv[2]))
    serve(socket.socket(fileno=int(sys.argv[1])))
    os._exit(0)
