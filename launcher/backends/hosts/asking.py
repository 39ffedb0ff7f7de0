"""Each host is asked once, all at the same time, before anything is planned; what is wrong is said in sentences."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import launcher
from launcher.backends.hosts.facts import MARK, PROGRAM
from launcher.backends.hosts.ssh import NO_FOLDER, over_ssh
from launcher.errors import BackendError
from launcher.spec import Job
from launcher.spec.hosts import Host

ANSWER_S = 30.0
"""On a cold network file system an interpreter starts slowly."""
AT_ONCE = 64
"""Connections that are opened at the same time."""
SSH_FAILED = 255
NOT_FOUND, NOT_EXECUTABLE = 127, 126
SSH_SAYS = (
    (r"Host key verification failed|host key.*(changed|is known)", "its host key is not known here, or has changed",
     "Connect once by hand with 'ssh {0}' and compare the key"),
    (r"Permission denied", "it does not let this user in without a password",
     "Put your public key there with 'ssh-copy-id {0}', or name the user: me@host"),
    (r"Could not resolve hostname", "its name does not resolve", "Check the name, or give it a HostName in ~/.ssh/config"),
    (r"refused|timed out|No route|unreachable|banner|reset|closed", "ssh cannot reach it", "See 'ssh {0}'"),
)  # fmt: skip
"""What ssh says, what that means, and what to do."""


def ask_all(hosts: Sequence[Host], job: Job, python: str) -> list[dict[str, Any] | BackendError]:
    """What each said of itself, or what is wrong with it."""
    names = [hostname(host.destination) for host in hosts]
    with ThreadPoolExecutor(max_workers=min(AT_ONCE, len(hosts))) as pool:
        return list(pool.map(lambda host: ask(host, job, python, names), hosts))


def ask(host: Host, job: Job, python: str, names: Sequence[str]) -> dict[str, Any] | BackendError:
    interface = job.environment.interface or ""
    argv = over_ssh(
        host.destination, (python, "-c", PROGRAM, launcher.__version__, interface, *names), folder=job.workdir,
        setup=job.environment.setup, needs_folder=not job.resources.snapshot,
    )  # fmt: skip
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                              timeout=ANSWER_S, check=False)  # fmt: skip
    except FileNotFoundError:
        return BackendError("there is no ssh on this machine: install an OpenSSH client")
    except subprocess.TimeoutExpired:
        return BackendError(f"{host.destination}: no answer within {ANSWER_S:g} s. Does 'ssh {host.destination} true' return?")
    _, marked, answer = done.stdout.rpartition(MARK)
    said: dict[str, Any] = json.loads(answer) if marked else {}
    wrong = mismatch(said, job, python) if said else refusal(done.returncode, done.stderr, job, python, host.destination)
    return BackendError(f"{host.destination}: {wrong}") if wrong else {**said, "name": hostname(host.destination)}


def mismatch(said: Mapping[str, Any], job: Job, python: str) -> str | None:
    """Why its interpreter is not the one to use; a pure function of what it said."""
    expected, found, version = launcher.__version__, said["launcher"], tuple(map(int, said["python"].split(".")))
    if version < (3, 11):
        return f"{python} is Python {said['python']}, and launcher needs 3.11 or newer. Name another in environment.python"
    if found is None:
        return f"launcher {expected} is not installed for {python}. Install it there, or name another in environment.python"
    if found != expected:
        return f"launcher there is {found}, and here {expected}. Install the same version on both"
    if job.environment.interface and not said["interface_is"]:
        have = ", ".join(f"{name} ({address})" for name, address in said["interfaces"].items())
        return f"it has no interface {job.environment.interface} with an IPv4 address. environment.interface may be one of {have}"
    return None


def refusal(code: int, stderr: str, job: Job, python: str, destination: str) -> str:
    """What an answer that never came means."""
    last = next((line.strip() for line in reversed(stderr.splitlines()) if line.strip()), f"ended with code {code}")
    if code == SSH_FAILED:
        for pattern, meaning, remedy in SSH_SAYS:
            if re.search(pattern, stderr, re.IGNORECASE):
                return f"{meaning} ({last}). {remedy.format(destination)}"
        return f"ssh failed: {last}"
    if code == NO_FOLDER:
        return f"the folder {job.workdir} is not there. Make it visible under the same path, or name another workdir"
    if code in (NOT_FOUND, NOT_EXECUTABLE):
        return f"there is no interpreter {python} that can be executed. Name the one of that machine in environment.python"
    setup = " and environment.setup" if job.environment.setup else ""
    return f"{python} could not be asked: {last}. Check environment.python{setup}"


def hostname(destination: str) -> str:
    """What ssh connects to: its configuration may give a name another meaning. Asks ssh, not the network."""
    try:
        said = subprocess.run(["ssh", "-G", destination], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return destination.rpartition("@")[2]
    return next((line.split()[1] for line in said.stdout.splitlines() if line.startswith("hostname ")), destination)
