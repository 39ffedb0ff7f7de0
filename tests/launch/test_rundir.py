from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from launcher.errors import BackendError, UsageError
from launcher.rundir import RunDir, json_lines, locked, names_another, new_run_dir, numbering, owner, write_atomic

HOLD = """
import sys, time
from launcher.rundir import RunDir, locked
with locked(RunDir(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_launches_of_one_moment_get_directories_of_their_own(tmp_path: Path) -> None:
    with ThreadPoolExecutor(32) as pool:
        ids = {run.id for run in pool.map(lambda _: new_run_dir(tmp_path, "job"), range(200))}
    assert len(ids) == 200
    assert all(name.endswith(tuple("abcdefghijklmnopqrstuvwxyz0123456789")) and "-job-" in name for name in ids)


def test_a_place_that_cannot_be_written_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BackendError, match="--runs DIR"):
        new_run_dir(tmp_path / "file" / "runs", "job")


def test_the_lock_goes_with_its_holder(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    assert (owner(run) or {})["pid"] == holder.pid
    with pytest.raises(UsageError, match=f"process {holder.pid} on"), locked(run):
        pass
    os.kill(holder.pid, signal.SIGKILL)
    holder.communicate()
    assert owner(run) is None
    with locked(run):
        assert (owner(run) or {})["pid"] == os.getpid()
    assert owner(run) is None


def test_an_atomic_write_leaves_nothing_behind_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomic(tmp_path / "a", "old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(tmp_path / "a", "new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "old")]


WRITE = """
import os, signal, sys
from pathlib import Path
from launcher.rundir import write_atomic
os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
write_atomic(Path(sys.argv[1]), "half")
"""


def test_what_a_killed_writer_left_goes_with_the_next_holder(tmp_path: Path) -> None:
    assert subprocess.run([sys.executable, "-c", WRITE, str(tmp_path / "results.csv")]).returncode == -signal.SIGKILL
    attempt = RunDir(tmp_path).attempt(2) / "devices.json"
    assert subprocess.run([sys.executable, "-c", WRITE, str(attempt)]).returncode == -signal.SIGKILL
    assert [len(list(each.glob(".*"))) for each in (tmp_path, attempt.parent)] == [1, 1]
    of_somebody = tmp_path / f".a.{numbering()}.{os.getpid()}.abcdef"
    of_somebody.touch()
    in_a_container = tmp_path / f".a.{socket.gethostname()}-1.{2**30}.abcdef"  # which counts its processes for itself
    in_a_container.touch()
    with locked(RunDir(tmp_path)):
        pass
    assert set(tmp_path.rglob(".*")) == {RunDir(tmp_path).lock, of_somebody, in_a_container}


def test_a_torn_last_line_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "x").write_text('{"a": 1}\n{"a": 2}\n{"a": ')
    assert [line["a"] for line in json_lines(tmp_path / "x")] == [1, 2]


def test_what_cannot_be_read_has_no_lines(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    assert list(json_lines(tmp_path / "x")) == []


def test_a_run_whose_lock_cannot_be_opened_cannot_be_held(tmp_path: Path) -> None:
    RunDir(tmp_path).lock.mkdir()
    with pytest.raises(BackendError, match="Is a directory"), locked(RunDir(tmp_path)):
        pass


def test_a_file_system_without_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unlocked(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("launcher.rundir.fcntl.flock", unlocked)
    with pytest.raises(BackendError, match=r"keeps no locks \(No locks available\).*--runs DIR"), locked(RunDir(tmp_path)):
        pass


def test_a_holder_is_still_itself_when_its_host_is_given_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunDir(tmp_path)
    with locked(run):
        monkeypatch.setattr("socket.gethostname", lambda: "renamed")
        assert not names_another(run)
        run.lock.write_text('{"host": "elsewhere", "pid": 1}')
        assert names_another(run)
