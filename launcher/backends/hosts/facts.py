"""What a host says of itself: run there, by the interpreter that the agents will have.

Prints one line: MARK and a JSON object. What a login's profile prints stands before it.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from contextlib import suppress
from typing import Any

from launcher.backends.local import usable_cpus
from launcher.gpus import visible_gpus

MARK = "launcher-facts:"
SIOCGIFADDR = 0x8915
PROGRAM = f"""\
import json, sys
if sys.path[0] == "": del sys.path[0]
found = {{"python": "%d.%d" % sys.version_info[:2], "launcher": None}}
if sys.version_info >= (3, 11):
    try:
        import launcher
        found["launcher"] = launcher.__version__
    except ImportError:
        pass
if found["launcher"] == sys.argv[1]:
    from launcher.backends.hosts.facts import facts
    found.update(facts(sys.argv[2], sys.argv[3:]))
print("\\n{MARK}" + json.dumps(found))
"""
"""For `python -c`, followed by the version that is expected, an interface (or nothing) and the names to resolve."""


def facts(interface: str, names: list[str]) -> dict[str, Any]:
    own = interfaces()
    reached = os.environ.get("SSH_CONNECTION", "").split()
    return {
        "hostname": socket.gethostname(),
        "hostname_is": resolve(socket.gethostname()),
        "cpus": usable_cpus(),
        "gpus": visible_gpus(),
        "interfaces": own,
        "interface_is": own.get(interface),
        "reached_at": reached[2] if len(reached) == 4 else None,
        "resolves": {name: resolve(name) for name in names},
    }


def resolve(name: str) -> str | None:
    with suppress(OSError):
        return str(socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)[0][4][0])
    return None


def interfaces() -> dict[str, str]:
    """Name -> IPv4 address, of those that have one."""
    found: dict[str, str] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            with suppress(OSError):
                answer = fcntl.ioctl(probe, SIOCGIFADDR, struct.pack("256s", os.fsencode(name)[:15]))
                found[name] = socket.inet_ntoa(answer[20:24])
    return found
