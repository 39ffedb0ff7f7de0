"""The process whose streams carry an agent's messages: the agent itself, srun, or ssh."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence

from launcher.errors import BackendError


def start_carrier(argv: Sequence[str], env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """In a session of its own, so that Ctrl-C in the terminal reaches the supervisor alone. Raises BackendError."""
    try:
        return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, bufsize=0, env=env)
    except OSError as error:
        raise BackendError(f"cannot start an agent with {argv[0]}: {error.strerror}. Is the environment still there?") from None
