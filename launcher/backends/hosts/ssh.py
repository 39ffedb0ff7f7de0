"""ssh as the carrier of an agent: the user's own configuration, nothing forwarded, nobody asked for a password."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from launcher.plan import Node

CONNECT_S = 5
SSH = (
    "ssh", "-T", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_S}", "-o", "ServerAliveInterval=2",
    "-o", "ServerAliveCountMax=3", "-o", "ForwardAgent=no", "-o", "ForwardX11=no", "-o", "ClearAllForwardings=yes",
    "-o", "PermitLocalCommand=no", "-o", "RemoteCommand=none", "-o", "ControlMaster=no",
)  # fmt: skip
"""A shared connection that is there already is used (ControlPath), but none is made: it would end with this process's agents."""
NO_FOLDER = 71
"""Exit code where the working folder is not there."""


def over_ssh(
    destination: str, command: Sequence[str], *, folder: str, setup: Sequence[str], needs_folder: bool
) -> tuple[str, ...]:
    """The argv that runs `command` there. All that the far shell reads is quoted once."""
    script = shell_script(command, folder=folder, setup=setup, needs_folder=needs_folder)
    shell = "bash -lc" if setup else "bash -c"  # `module` and its like are defined by a login's profile
    return (*SSH, destination, f"exec {shell} {shlex.quote(script)}")


def shell(node: Node, _job: str | None, command: Sequence[str], *, terminal: bool) -> tuple[str, ...]:
    """In a connection of its own, with the user's own ssh configuration."""
    *_, destination, _ = node.argv  # as over_ssh made it
    return ("ssh", *(("-t",) if terminal else ()), destination, f"exec {shlex.join(command)}")


def shell_script(command: Sequence[str], *, folder: str, setup: Sequence[str], needs_folder: bool) -> str:
    """The setup lines must not read what is meant for the command, nor write where its messages go."""
    enter = f"cd {shlex.quote(folder)} 2>/dev/null"
    lines = [f"{enter} || exit {NO_FOLDER}" if needs_folder else f"{enter} || cd"]
    execute = f"exec {shlex.join(command)}"
    if not setup:
        return "; ".join([*lines, execute])
    return "\n".join([*lines, "{", *setup, "} </dev/null >&2", execute])
