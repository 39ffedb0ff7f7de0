"""The hosts backend without a host: names, host files, addresses, what ssh's words mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from launcher.backends.hosts.allocation import address, gloo
from launcher.backends.hosts.asking import SSH_FAILED, mismatch, refusal
from launcher.backends.hosts.inventory import read_host_file
from launcher.backends.hosts.ssh import NO_FOLDER, shell_script
from launcher.errors import UsageError
from launcher.plan import Cluster, Machine, make_plan
from launcher.spec import Job
from launcher.spec.hosts import parse_host

JOB = Job.model_validate({"name": "j", "workdir": "/w d", "run": {"script": "x.py"}, "resources": {"hosts": ["a", "b"]}})


@pytest.mark.parametrize(
    ("text", "destination", "slots"),
    [
        ("gpu1", "gpu1", None),
        ("me@gpu2:4", "me@gpu2", 4),
        ("gpu-3.example.org:8", "gpu-3.example.org", 8),
        ("10.0.0.7", "10.0.0.7", None),
        ("me@[fd00::7]:2", "me@fd00::7", 2),
        ("[fe80::1%eth0]", "fe80::1%eth0", None),
    ],
)
def test_a_host_as_it_is_written(text: str, destination: str, slots: int | None) -> None:
    host = parse_host(text)
    assert (host.destination, host.slots) == (destination, slots)


@pytest.mark.parametrize(
    "text", ["", "-oProxyCommand=x", "-l@h", "me@-h", "a b", "h:0", "h:x", "fd00::7", "h;reboot", "$(x)", "@h", "h:"]
)
def test_what_is_no_host(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected \[user@\]host"):
        parse_host(text)


def test_a_host_file(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("# ours\ngpu1\nme@gpu2:4  # slow\n\ngpu3 slots=8\n")
    assert [(host.destination, host.slots) for host in read_host_file(tmp_path / "hosts")] == [
        ("gpu1", None), ("me@gpu2", 4), ("gpu3", 8)]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gpu1\ngpu2 max=3\n", ":2: after the host only slots=N may stand, got 'max=3'"),
        ("\n-x\n", ":2: expected [user@]host"),
        ("a\na:2\n", "a is named twice. Write a:2"),
        ("# nobody\n", "names no machine"),
    ],
)
def test_a_wrong_host_file(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "hosts").write_text(text)
    with pytest.raises(UsageError) as error:
        read_host_file(tmp_path / "hosts")
    assert said in str(error.value)


def facts(**changed: Any) -> dict[str, Any]:
    usual = {"name": "gpu1", "hostname": "gpu1", "hostname_is": "10.0.0.1", "interface_is": None, "reached_at": "10.9.0.1",
             "interfaces": {"lo": "127.0.0.1", "eth0": "10.0.0.1", "ib0": "10.1.0.1"}, "resolves": {}}  # fmt: skip
    return {**usual, **changed}


@pytest.mark.parametrize(
    ("own", "resolved", "expected"),
    [
        ({}, ["10.0.0.1", "10.0.0.1"], "10.0.0.1"),
        ({}, ["10.0.0.1", "10.2.0.1"], "gpu1"),
        ({}, [None, "10.0.0.1"], "10.9.0.1"),
        ({}, ["127.0.1.1"], "10.9.0.1"),
        ({"reached_at": "127.0.0.1"}, [None], "10.0.0.1"),
        ({"interface_is": "10.1.0.1"}, ["10.0.0.1"], "10.1.0.1"),
        ({"reached_at": None, "interfaces": {"lo": "127.0.0.1"}}, [None], None),
        ({}, [], "127.0.0.1"),
    ],
)
def test_the_address_under_which_others_reach_a_host(own: Any, resolved: list[str | None], expected: str | None) -> None:
    assert address(facts(**own), [facts(resolves={"gpu1": each}) for each in resolved]) == expected


def test_gloo_is_told_the_interface_where_the_own_name_means_loopback() -> None:
    assert gloo(facts(), "10.0.0.1") == {}
    assert gloo(facts(hostname_is="127.0.1.1"), "10.0.0.1") == {"GLOO_SOCKET_IFNAME": "eth0"}
    assert gloo(facts(hostname_is=None), "10.1.0.1") == {"GLOO_SOCKET_IFNAME": "ib0"}


@pytest.mark.parametrize(
    ("code", "stderr", "said"),
    [
        (SSH_FAILED, "No ED25519 host key is known for h and you have requested strict checking.\nHost key verification failed.",
         "its host key is not known here"),
        (SSH_FAILED, "me@h: Permission denied (publickey).", "ssh-copy-id h"),
        (SSH_FAILED, "ssh: Could not resolve hostname h: Name or service not known", "its name does not resolve"),
        (SSH_FAILED, "ssh: connect to host h port 22: Connection timed out", "ssh cannot reach it"),
        (SSH_FAILED, "Bad configuration option: x", "ssh failed: Bad configuration option: x"),
        (NO_FOLDER, "", "the folder /w d is not there"),
        (127, "bash: line 1: exec: /p: not found", "there is no interpreter /p"),
        (1, "Boom", "/p could not be asked: Boom"),
    ],
)  # fmt: skip
def test_what_a_missing_answer_means(code: int, stderr: str, said: str) -> None:
    assert said in refusal(code, stderr, JOB, "/p", "h")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"python": "3.9", "launcher": None}, "is Python 3.9, and launcher needs 3.11"),
        ({"python": "3.12", "launcher": None}, "is not installed for /p"),
        ({"python": "3.12", "launcher": "9.9"}, "launcher there is 9.9, and here"),
    ],
)
def test_an_interpreter_that_will_not_do(said: Any, words: str) -> None:
    assert words in (mismatch(said, JOB, "/p") or "")


def test_what_the_far_shell_reads() -> None:
    plain = shell_script(("py", "a b"), folder="/w d", setup=(), needs_folder=True)
    assert plain == "cd '/w d' 2>/dev/null || exit 71; exec py 'a b'"
    setup = shell_script(("py",), folder="/w", setup=["module load cuda"], needs_folder=False)
    assert setup == "cd /w 2>/dev/null || cd\n{\nmodule load cuda\n} </dev/null >&2\nexec py"


@pytest.mark.parametrize(
    ("slots", "gpus", "procs"), [((4, 2), 0, 2), ((None, 3), 0, 3), ((None, None), 2, 2), ((1, 1), 2, 1), ((None, None), 0, 4)]
)
def test_ranks_follow_from_slots_gpus_and_cores(slots: Any, gpus: int, procs: int) -> None:
    machines = tuple(Machine(host=f"n{each}", address="a", cpus=tuple(range(8)), gpus=tuple("01"[:gpus]), slots=slots[each])
                     for each in range(2))  # fmt: skip
    plan = make_plan(JOB, Cluster(backend="hosts", machines=machines, python="py"))
    assert (plan.world.nodes, plan.world.procs_per_node) == (2, procs)
    assert plan.torchrun_on(1)[3:8] == (
        "--node-rank=1", "--nnodes=2", f"--nproc-per-node={procs}", "--master-addr=a", "--master-port=29500")  # fmt: skip
