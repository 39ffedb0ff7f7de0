"""A real Slurm on one machine: every node a network, host name, process and memory namespace of its own. Needs root.

Nodes can be crashed (their PID 1 is killed: a power cut), frozen, cut from the network and booted again; the controller can be
stopped. Short timers, so that a test need not wait for what takes minutes on a real cluster; but who is only slow to save
or to read its credential must not be killed or refused, and those timers are not short. Nor is UnkillableStepTimeout:
a step whose srun stands still tells it five times of its task's end, MessageTimeout each, and Slurm drains a node whose step
takes longer than that to end. Everything dies with this process.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.patience import PATIENCE_S

COMMANDS = ("sbatch", "squeue", "scancel", "scontrol", "sinfo", "srun", "salloc", "sacct")
NEEDED = ("slurmctld", "slurmd", "munged", "unshare", "nsenter", "ip")
NETWORK = "10.77.0"
CONTROLLER = f"{NETWORK}.254"
SLURMD_PORT = 16818
CPUS = 4
INIT = Path(__file__).with_name("init.py")

SLURM_CONF = """\
ClusterName=lab
SlurmctldHost=ctl({controller})
SlurmctldPort=16817
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/run/munge.sock,cred_expire=60
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
MailProg=/bin/true
ProctrackType=proctrack/cgroup
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
MpiDefault=none
SwitchType=switch/none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=100
GresTypes=gpu
JobRequeue=1
ReturnToService=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MinJobAge=3600
SchedulerParameters=sched_interval=1,batch_sched_delay=1,bf_interval=1
SlurmdTimeout=10
MessageTimeout=5
KillWait=30
UnkillableStepTimeout=60
TCPTimeout=2
AccountingStorageType=accounting_storage/none
NodeName=n[1-{nodes}] NodeAddr={network}.[1-{nodes}] Port={port} CPUs={cpus} Sockets=1 CoresPerSocket={cpus} ThreadsPerCore=1 \
RealMemory=64000 Gres=gpu:fake:2 State=UNKNOWN
PartitionName=DEFAULT Nodes=ALL MaxTime=INFINITE DefaultTime=60 State=UP OverSubscribe=NO
PartitionName=main Default=YES PriorityTier=10 PreemptMode=OFF
PartitionName=high PriorityTier=100 PreemptMode=OFF
PartitionName=low PriorityTier=1 PreemptMode=REQUEUE GraceTime=30
PartitionName=scav PriorityTier=1 PreemptMode=CANCEL GraceTime=30
PartitionName=swift PriorityTier=1 PreemptMode=CANCEL GraceTime=0
PartitionName=short MaxTime=5 PriorityTier=10 PreemptMode=OFF
"""

PROBE = "mount -t tmpfs t /mnt; mkdir /mnt/f; mount -t cgroup -o freezer f /mnt/f; ip link add name b0 type bridge"
"""What a node needs of the kernel."""


def missing(needed: Sequence[str] = NEEDED) -> str | None:
    """Why there can be no machines of namespaces here, or None."""
    if os.geteuid() != 0:
        return "machines of namespaces need root"
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    absent = [name for name in needed if shutil.which(name, path=path) is None]
    if absent:
        return f"not installed ({', '.join(absent)}): tests/slurm/install does it on Debian"
    probe = ["unshare", "--net", "--uts", "--ipc", "--mount", "--pid", "--fork", "sh", "-ec", PROBE]
    tried = subprocess.run(probe, capture_output=True, text=True, check=False)
    return f"this machine grants no namespaces: {tried.stderr.strip()}" if tried.returncode else None


class Namespace:
    """A machine: its PID 1 and all that runs under it."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.unshare: subprocess.Popen[bytes] | None = None
        self.pid = 0
        """Of its PID 1, as seen from here."""
        self.daemons: list[subprocess.Popen[bytes]] = []

    @property
    def alive(self) -> bool:
        return self.unshare is not None and self.unshare.poll() is None

    def boot(self) -> None:
        ready = self.folder / "run" / f"{self.name}.ready"
        ready.unlink(missing_ok=True)
        self.unshare = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--uts", "--ipc", "--mount", "--pid", "--fork", "--kill-child",
             "--mount-proc", sys.executable, "-I", str(INIT), self.name, str(self.folder)],
            stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_for(ready.exists, f"{self.name} to boot")
        self.pid = int(Path(f"/proc/{self.unshare.pid}/task/{self.unshare.pid}/children").read_text())

    def command(self, *argv: str) -> list[str]:
        return ["nsenter", "-t", str(self.pid), "--net", "--uts", "--ipc", "--mount", "--pid", "--wdns=/", *argv]

    def run(self, *argv: str) -> None:
        subprocess.run(self.command(*argv), check=True, capture_output=True)

    def start(self, *argv: str, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        log = (self.folder / "log" / f"{self.name}-{Path(argv[0]).name}.out").open("ab")
        with log:
            daemon = subprocess.Popen(self.command(*argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env)
        self.daemons.append(daemon)
        return daemon

    def processes(self) -> list[int]:
        """All of its processes, as numbers here."""
        own = Path(f"/proc/{self.pid}/ns/pid").readlink()
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError, ValueError):
                if (entry / "ns" / "pid").readlink() == own:
                    found.append(int(entry.name))
        return found

    def crash(self) -> None:
        """Its PID 1 is killed, and the kernel kills the rest of it."""
        assert self.unshare is not None
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.let_go()
        self.unshare.wait()
        for daemon in self.daemons:
            daemon.wait()
        self.daemons = []

    def let_go(self) -> None:
        """nsenter stops itself when what it waits for is frozen; and nothing vanishes that it has not waited for."""
        for daemon in self.daemons:
            daemon.send_signal(signal.SIGCONT)

    def freeze(self) -> None:
        """Nothing of it runs any more; what it holds open stays open."""
        seen: set[int] = set()
        while fresh := set(self.processes()) - seen - {self.pid}:
            for pid in fresh:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            seen |= fresh

    def thaw(self) -> None:
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self.let_go()


class Cluster:
    """`with Cluster(folder, nodes=3) as cluster:`; `cluster.environment` makes sbatch and its kin talk to it."""

    def __init__(self, folder: Path, nodes: int = 4) -> None:
        self.folder = folder
        self.controller = Namespace("ctl", folder)
        self.nodes = {f"n{number}": Namespace(f"n{number}", folder) for number in range(1, nodes + 1)}
        self.slurmctld: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Cluster:
        for name in ("run", "state", "spool", "log", "bin", "dev", "cgroup"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "run").chmod(0o755)
        self.configure()
        self.controller.boot()
        self.controller.run("ip", "link", "add", "br0", "type", "bridge")
        self.controller.run("ip", "addr", "add", f"{CONTROLLER}/24", "dev", "br0")
        self.controller.run("ip", "link", "set", "br0", "up")
        self.controller.start(
            "/usr/sbin/munged", "--foreground", "--force", "--num-threads=4", f"--key-file={self.folder}/munge.key",
            f"--socket={self.folder}/run/munge.sock", f"--pid-file={self.folder}/run/munged.pid",
            f"--log-file={self.folder}/log/munged.log", f"--seed-file={self.folder}/run/munged.seed",
        )  # fmt: skip
        wait_for((self.folder / "run" / "munge.sock").exists, "munged")
        self.start_controller()
        for name in self.nodes:
            self.boot(name)
        self.wait_idle()
        return self

    def __exit__(self, *exc: object) -> None:
        for node in [*self.nodes.values(), self.controller]:
            if node.alive:
                node.crash()

    def configure(self) -> None:
        conf = SLURM_CONF.format(folder=self.folder, controller=CONTROLLER, network=NETWORK, nodes=len(self.nodes), cpus=CPUS,
                                 port=SLURMD_PORT)  # fmt: skip
        (self.folder / "slurm.conf").write_text(conf)
        (self.folder / "cgroup.conf").write_text(f"CgroupPlugin=cgroup/v1\nCgroupMountpoint={self.folder}/cgroup\n")
        devices = [self.folder / "dev" / f"gpu{index}" for index in range(2)]
        for device in devices:
            if not device.exists():
                os.mknod(device, 0o666 | 0o020000, os.makedev(1, 3))
        (self.folder / "gres.conf").write_text(f"AutoDetect=off\nName=gpu Type=fake File={','.join(map(str, devices))}\n")
        hosts = [f"{NETWORK}.{name[1:]} {name}" for name in self.nodes]
        (self.folder / "hosts").write_text("\n".join(["127.0.0.1 localhost", f"{CONTROLLER} ctl", *hosts]) + "\n")
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)

    @property
    def conf(self) -> dict[str, str]:
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    @property
    def environment(self) -> dict[str, str]:
        """For a login node: this process's environment, with Slurm's commands in front."""
        outside = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))}
        return {**outside, **self.conf, "PATH": f"{self.folder}/bin:{os.environ['PATH']}"}

    def write_commands(self) -> None:
        """On a node (a job inherits its submitter's PATH) the real command; elsewhere the same in the controller's network."""
        for name in COMMANDS:
            wrapper = self.folder / "bin" / name
            wrapper.write_text(
                f'#!/bin/sh\n[ -n "$SLURMD_NODENAME" ] && exec /usr/bin/{name} "$@"\n'
                f'exec nsenter -t {self.controller.pid} --net --uts /usr/bin/{name} "$@"\n'
            )
            wrapper.chmod(0o755)

    def start_controller(self) -> None:
        self.write_commands()
        log = self.folder / "log" / "slurmctld.log"
        before = log.stat().st_size if log.exists() else 0
        self.slurmctld = self.controller.start("/usr/sbin/slurmctld", "-D", env={**os.environ, **self.conf})
        wait_for(lambda: log.exists() and b"Running as primary controller" in log.read_bytes()[before:], "the controller")

    def stop_controller(self) -> None:
        """Gone, as in a restart; jobs run on."""
        assert self.slurmctld is not None
        children = Path(f"/proc/{self.slurmctld.pid}/task/{self.slurmctld.pid}/children").read_text().split()
        os.kill(int(children[0]) if children else self.slurmctld.pid, signal.SIGTERM)
        self.slurmctld.wait()

    def boot(self, name: str) -> None:
        node = self.nodes[name]
        node.boot()
        with suppress(subprocess.CalledProcessError):  # of the node before a crash: its network vanishes late
            self.controller.run("ip", "link", "del", f"v-{name}")
        # From outside its process namespace, where the node's PID means something.
        pair = ["ip", "link", "add", f"v-{name}", "type", "veth", "peer", "name", "eth0", "netns", str(node.pid)]
        subprocess.run(["nsenter", "-t", str(self.controller.pid), "--net", *pair], check=True, capture_output=True)
        self.controller.run("ip", "link", "set", f"v-{name}", "master", "br0", "up")
        # The same as before a crash: the others would seek its address at the old one for half a minute.
        node.run("ip", "link", "set", "eth0", "address", f"02:00:00:00:00:{int(name[1:]):02x}")
        node.run("ip", "addr", "add", f"{NETWORK}.{name[1:]}/24", "dev", "eth0")
        node.run("ip", "link", "set", "eth0", "up")
        node.start("/usr/sbin/slurmd", "-D", "-N", name, env={**os.environ, **self.conf})

    def crash(self, name: str) -> None:
        """A power cut. First the network: srun ends a step when it hears the sockets of a dying node close."""
        self.cut(name)
        self.nodes[name].crash()

    def cut(self, name: str) -> None:
        self.controller.run("ip", "link", "set", f"v-{name}", "down")

    def heal(self, name: str) -> None:
        self.controller.run("ip", "link", "set", f"v-{name}", "up")
        self.run("scontrol", "reconfigure")

    def run(self, *argv: str) -> str:
        """A command on the login node; its output."""
        done = subprocess.run(argv, env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise AssertionError(f"{' '.join(argv)} ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def states(self) -> dict[str, str]:
        return dict(line.split() for line in self.run("sinfo", "-h", "-N", "-o", "%N %t", "-p", "main").splitlines())

    def wait_idle(self, timeout_s: float = PATIENCE_S) -> None:
        """All nodes are there and free. A node that a test crashed is booted again, one that is down is brought back."""
        self.boot_crashed()
        wait_for(self.all_idle, "all nodes to be idle", timeout_s)

    def boot_crashed(self) -> None:
        crashed = [name for name, node in self.nodes.items() if not node.alive]
        for name in crashed:
            self.boot(name)
        # The controller may not have missed them at all, and would start a step there before their slurmd listens.
        wait_for(lambda: all(map(self.listens, crashed)), "the slurmd of each to listen")

    def listens(self, name: str) -> bool:
        probe = self.controller.command("bash", "-c", f"exec 3<>/dev/tcp/{NETWORK}.{name[1:]}/{SLURMD_PORT}")
        try:
            return subprocess.run(probe, capture_output=True, timeout=10, check=False).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def bring_back(self) -> dict[str, str]:
        """Every node that is down, as an administrator would. Slurm drains one whose step it could not end, as after a cut."""
        states = self.states()
        for name, state in states.items():
            if state.startswith(("down", "drain", "drng")):
                with suppress(AssertionError):
                    self.run("scontrol", "update", f"nodename={name}", "state=resume")
        return states

    def all_idle(self) -> bool:
        states = self.bring_back()
        return len(states) == len(self.nodes) and all(state == "idle" for state in states.values())


def wait_for(ready: Callable[[], bool], what: str, timeout_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s:g} s for {what}")
        time.sleep(0.05)


@contextmanager
def shell(folder: Path, nodes: int) -> Iterator[Cluster]:
    with Cluster(folder, nodes) as cluster:
        yield cluster


if __name__ == "__main__":
    import tempfile

    with (
        tempfile.TemporaryDirectory(prefix="cluster-") as place,
        shell(Path(place), nodes=int((sys.argv[1:] or ["4"])[0])) as lab,
    ):
        os.environ.update(lab.environment)
        print(lab.run("sinfo", "-N"), end="")
        subprocess.run([os.environ.get("SHELL", "/bin/bash")], check=False)
