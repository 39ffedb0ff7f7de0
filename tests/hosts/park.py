"""A few hosts on one machine, each with a real sshd: own network, names, processes and memory. Needs root.

`h0` is where a person sits: no sshd, but the key, a known_hosts and an ssh config. All see the same file system; what a host
is not to see is covered by an empty one (`hide`).
"""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests.patience import PATIENCE_S
from tests.slurm.cluster import Namespace, wait_for

NETWORK = "10.78.0"
RUNS = re.compile(rb"-m\0?launcher|forkserver|torch.distributed.run")
NEEDED = ("sshd", "ssh", "ssh-keygen", "unshare", "nsenter", "ip")
SSHD_CONFIG = """\
Port 22
HostKey {folder}/host_key
PidFile none
AuthorizedKeysFile {folder}/key.pub
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
SetEnv TMPDIR={folder}/tmp
"""
SSH_CONFIG = """\
Host *
    IdentityFile {folder}/key
    IdentitiesOnly yes
    UserKnownHostsFile {folder}/known_hosts
    GlobalKnownHostsFile /dev/null
    ConnectTimeout 60
"""


class Park:
    """`with Park(folder, hosts=3) as park:`; its hosts are h1, h2, ...; `park.command(...)` is a command of the person at h0."""

    def __init__(self, folder: Path, hosts: int = 3) -> None:
        self.folder = folder
        self.switch = Namespace("switch", folder)
        self.hosts = {f"h{number}": Namespace(f"h{number}", folder) for number in range(hosts + 1)}

    def __enter__(self) -> Park:
        for name in ("run", "log", "cgroup", "bin", "tmp"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.configure()
        self.switch.boot()
        self.switch.run("ip", "link", "add", "br0", "type", "bridge")
        self.switch.run("ip", "link", "set", "br0", "up")
        for name in self.hosts:
            self.boot(name)
        return self

    def __exit__(self, *exc: object) -> None:
        for host in [*self.hosts.values(), self.switch]:
            if host.unshare is not None and host.unshare.poll() is None:
                host.crash()

    def configure(self) -> None:
        for name in ("key", "host_key"):
            (self.folder / name).unlink(missing_ok=True)
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)], check=True)
        addresses = [(address(name), name) for name in self.hosts]
        everyone = [("127.0.0.1", "localhost"), *addresses]
        (self.folder / "hosts").write_text("".join(f"{where} {name}\n" for where, name in everyone))
        key = " ".join((self.folder / "host_key.pub").read_text().split()[:2])
        known = "".join(f"{name},{where} {key}\n" for where, name in addresses)
        (self.folder / "known_hosts").write_text(known)
        (self.folder / "sshd_config").write_text(SSHD_CONFIG.format(folder=self.folder))
        (self.folder / "ssh_config").write_text(SSH_CONFIG.format(folder=self.folder))
        ssh = self.folder / "bin" / "ssh"
        ssh.write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F {self.folder}/ssh_config "$@"\n')
        ssh.chmod(0o755)

    def boot(self, name: str) -> None:
        host = self.hosts[name]
        host.boot()
        with suppress(subprocess.CalledProcessError):  # of the host before a crash: its network vanishes late
            self.switch.run("ip", "link", "del", f"v-{name}")
        pair = ["ip", "link", "add", f"v-{name}", "type", "veth", "peer", "name", "eth0", "netns", str(host.pid)]
        subprocess.run(["nsenter", "-t", str(self.switch.pid), "--net", *pair], check=True, capture_output=True)
        self.switch.run("ip", "link", "set", f"v-{name}", "master", "br0", "up")
        # The same as before a crash: the others remember it.
        host.run("ip", "link", "set", "eth0", "address", f"02:00:00:00:00:0{name[1:]}")
        host.run("ip", "addr", "add", f"{address(name)}/24", "dev", "eth0")
        host.run("ip", "link", "set", "eth0", "up")
        host.run("mount", "-t", "tmpfs", "tmpfs", f"{self.folder}/tmp")
        if name != "h0":
            host.run("mount", "-t", "tmpfs", "tmpfs", "/run")
            host.run("mkdir", "-p", "/run/sshd")
            host.start("/usr/sbin/sshd", "-D", "-e", "-f", f"{self.folder}/sshd_config")
            wait_for(lambda: self.call("ssh", name, "true") == 0, f"sshd of {name}", PATIENCE_S)

    def command(self, *argv: str) -> list[str]:
        """In h0's network and among its processes, with its ssh."""
        return self.hosts["h0"].command("env", f"PATH={self.folder}/bin:{Path(sys.executable).parent}:/usr/bin:/bin", *argv)

    def call(self, *argv: str) -> int:
        return subprocess.run(self.command(*argv), capture_output=True).returncode

    def cut(self, name: str) -> None:
        self.switch.run("ip", "link", "set", f"v-{name}", "down")

    def power_off(self, name: str) -> None:
        """Cut first: a kernel that ends its processes in order would still say goodbye."""
        self.cut(name)
        self.hosts[name].crash()

    def mend(self, name: str) -> None:
        """Whatever was done to it: it runs, and is reached."""
        host = self.hosts[name]
        if host.unshare is None or host.unshare.poll() is not None:
            self.boot(name)
            return
        self.switch.run("ip", "link", "set", f"v-{name}", "up")
        host.thaw()

    def hide(self, name: str, folder: Path) -> None:
        """That host sees an empty folder there."""
        self.hosts[name].run("mount", "-t", "tmpfs", "tmpfs", str(folder))

    def show(self, name: str, folder: Path) -> None:
        self.hosts[name].run("umount", str(folder))

    def agents(self, name: str) -> list[int]:
        """Processes of that host that belong to a run, as numbers here."""
        return [pid for pid in self.hosts[name].processes() if RUNS.search(command_line(pid))]

    def leftovers(self, name: str) -> list[Path]:
        """What agents left among that host's temporary files."""
        return list(Path(f"/proc/{self.hosts[name].pid}/root{self.folder}/tmp").glob("launcher-*"))

    def wait_quiet(self) -> None:
        """Nothing is left on any host. One that a test crashed is booted again."""
        for name in self.hosts:
            self.mend(name)
        wait_for(lambda: not any(map(self.agents, self.hosts)), "no process of a run to be left", PATIENCE_S)
        wait_for(lambda: not any(map(self.leftovers, self.hosts)), "no folder of an agent to be left", PATIENCE_S)


def address(name: str) -> str:
    return f"{NETWORK}.{100 + int(name[1:])}"


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
