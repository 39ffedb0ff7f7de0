"""What Slurm's commands say. Nothing here needs slurmdbd."""

from __future__ import annotations

import subprocess

from launcher.errors import BackendError

ANSWER_S = 30.0


def slurm(*argv: str, text: str | None = None) -> str:
    """A command's output. Raises BackendError where it fails, is not there or does not answer."""
    try:
        done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=ANSWER_S, check=False)
    except FileNotFoundError:
        raise BackendError(f"{argv[0]} is not here: this machine is no part of a Slurm cluster. Use --backend local") from None
    except subprocess.TimeoutExpired:
        raise BackendError(f"{argv[0]} did not answer within {ANSWER_S:g} s: Slurm's controller may be down") from None
    if done.returncode != 0:
        said = " ".join(done.stderr.split()) or f"ended with code {done.returncode}"
        raise BackendError(f"{argv[0]}: {said.removeprefix(f'{argv[0]}: ').removeprefix('error: ')}")
    return done.stdout


def scontrol(*argv: str) -> str:
    return slurm("scontrol", *argv)
