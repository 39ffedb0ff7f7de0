"""What there is to run on: the hosts that a job names, as they described themselves."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from launcher.backends.hosts.asking import ask_all
from launcher.backends.hosts.inventory import named_hosts
from launcher.backends.hosts.ssh import over_ssh
from launcher.backends.local import LOOPBACK
from launcher.errors import BackendError, UsageError
from launcher.plan import Cluster, Machine
from launcher.spec import Job
from launcher.spec.hosts import Host

Facts = Mapping[str, Any]


def cluster(job: Job) -> Cluster:
    """Raises UsageError where the job names too few hosts, BackendError where one cannot be used."""
    if job.environment.container is not None:
        raise UsageError("environment.container: on hosts no runtime starts it. Name a script that does in environment.python")
    wants, python = job.resources, job.environment.python or sys.executable
    hosts = wanted(named_hosts(job), job)
    answers = ask_all(hosts, job, python)
    usable = [(host, facts) for host, facts in zip(hosts, answers, strict=True) if not isinstance(facts, BackendError)]
    wrong = [str(answer) for answer in answers if isinstance(answer, BackendError)]
    if wrong and len(usable) < fewest(job, len(hosts)):
        raise BackendError("\n".join(wrong))
    usable = usable[: wants.most + wants.spares] if nodes_given(job) else usable
    everyone = [facts for _, facts in usable]
    machines = tuple(machine(job, python, index, host, everyone) for index, (host, _) in enumerate(usable))
    return Cluster(backend="hosts", machines=machines, python=python)


def nodes_given(job: Job) -> bool:
    """Nobody who lists four hosts means one of them."""
    return "nodes" in job.resources.model_fields_set


def wanted(hosts: Sequence[Host], job: Job) -> Sequence[Host]:
    """The first ones, where fewer are asked for than named; of a range all, since some may be down. Raises UsageError."""
    wants = job.resources
    least = fewest(job, wants.spares + 1)
    if len(hosts) < least:
        raise UsageError(f"{least} hosts are wanted, {wants.spares} of them spares, and resources.hosts names {len(hosts)}")
    return hosts[:least] if isinstance(wants.nodes, int) and nodes_given(job) else hosts


def fewest(job: Job, default: int) -> int:
    """Hosts without which it does not begin; `default` where the job does not say."""
    return job.resources.fewest + job.resources.spares if nodes_given(job) else default


def machine(job: Job, python: str, index: int, host: Host, everyone: Sequence[Facts]) -> Machine:
    own = everyone[index]
    others = [facts for each, facts in enumerate(everyone) if each != index]
    found = address(own, others)
    if found is None:
        raise BackendError(
            f"{host.destination}: no address of it can be reached by the others. Name an interface in environment.interface"
        )
    command = (python, "-P", "-m", "launcher.agent", "--id", str(index))
    return Machine(
        host=own["hostname"], address=found, cpus=tuple(own["cpus"]),
        gpus=() if job.resources.device == "cpu" else tuple(own["gpus"]), slots=host.slots,
        env={} if job.environment.interface else gloo(own, found),
        agent=over_ssh(host.destination, command, folder=job.workdir, setup=job.environment.setup,
                       needs_folder=not job.resources.snapshot),
    )  # fmt: skip


def address(own: Facts, others: Sequence[Facts]) -> str | None:
    """Under which the others reach it: its named interface, else its name where they all resolve it, else as we reached it."""
    if not others:
        return LOOPBACK
    resolved = [facts["resolves"].get(own["name"]) for facts in others]
    if own["interface_is"]:
        return str(own["interface_is"])
    if all(found and not is_loopback(found) for found in resolved):
        return str(resolved[0]) if len(set(resolved)) == 1 else str(own["name"])
    candidates = [own["reached_at"], *own["interfaces"].values()]
    return next((each for each in candidates if each and not is_loopback(each)), None)


def gloo(own: Facts, found: str) -> dict[str, str]:
    """Where a machine's name means its loopback (as Debian installs it), gloo would offer that to the other nodes."""
    name = next((name for name, address in own["interfaces"].items() if address == found), None)
    if found == LOOPBACK or name is None or (own["hostname_is"] and not is_loopback(own["hostname_is"])):
        return {}
    return {"GLOO_SOCKET_IFNAME": name}


def is_loopback(text: str) -> bool:
    return ipaddress.ip_address(text.partition("%")[0]).is_loopback
