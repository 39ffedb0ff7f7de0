"""The process whose streams carry an agent's messages: the agent itself, srun, or ssh."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from launcher.errors import BackendError
from launcher.rundir import PLACEHOLDER
from launcher.spec import Job


def start_carrier(argv: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """In a session of its own, so that Ctrl-C in the terminal reaches the supervisor alone.

    What it says on stderr (ssh, srun, a site's shell lines, an agent that fails) is appended to `log`. Raises BackendError.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as said:
        try:
            return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, start_new_session=True,
                                    bufsize=0)  # fmt: skip
        except OSError as error:
            raise BackendError(
                f"cannot start an agent with {argv[0]}: {error.strerror}. Is the environment still there?"
            ) from None


def set_up(job: Job) -> tuple[str, ...]:
    """What runs a job's shell lines and then the command behind it. Their input and output are not the agent's."""
    lines = job.environment.setup
    if not lines:
        return ()
    return ("bash", "-c", "\n".join(["{", *lines, "} </dev/null >&2", 'exec "$@"']), "setup")


def agent_command(job: Job, python: str, index: int) -> tuple[str, ...]:
    """On its node; in apptainer where the job says so. `{run_dir}` stands for the run directory."""
    spec = job.environment
    inside = ("apptainer", "exec", "--nv", *(f"--bind={mount}" for mount in mounts(job)), spec.container or "")
    apptainer = inside if spec.container and spec.runtime == "apptainer" else ()
    return (*apptainer, python, "-P", "-m", "launcher.agent", "--id", str(index))


def mounts(job: Job) -> tuple[str, ...]:
    """Of a container, as `outside:inside`: every path is the same inside, unless it is said otherwise."""
    own = (job.workdir, PLACEHOLDER, *job.environment.mounts)
    return tuple(dict.fromkeys(path if ":" in path else f"{path}:{path}" for path in own))


def interpreter(job: Job, here: str) -> str:
    """Of agents and ranks: the one that runs launch, unless given; in a container its own."""
    return job.environment.python or ("python3" if job.environment.container else here)
