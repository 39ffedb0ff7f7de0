"""PID 1 of a node: gives it its name, hosts file, shared memory and freezer, then reaps: slurmstepd is an orphan.

Its shells start as on a fresh account: what this machine's root has in its profile may take a lock that a crashed node leaves.
"""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

name, folder = sys.argv[1], Path(sys.argv[2])


def mount(*argv: str) -> None:
    subprocess.run(["mount", *argv], check=True)


socket.sethostname(name)
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
mount("--bind", str(folder / "hosts"), "/etc/hosts")
for profile in (".bashrc", ".bash_profile", ".bash_login", ".profile"):
    if (own := Path.home() / profile).exists():
        mount("--bind", "/dev/null", str(own))
mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", "/dev/shm")
mount("-t", "tmpfs", "tmpfs", str(folder / "cgroup"))
(folder / "cgroup" / "freezer").mkdir()
mount("-t", "cgroup", "-o", "freezer", "freezer", str(folder / "cgroup" / "freezer"))
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
(folder / "run" / f"{name}.ready").touch()
while True:
    signal.sigwait({signal.SIGCHLD})
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
