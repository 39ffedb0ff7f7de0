"""The copy of the code that a run executes in."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from launcher import provenance, snapshot
from launcher.errors import UsageError
from launcher.load import parse_job
from launcher.rundir import RunDir, read_json
from launcher.spec import Job
from tests.patience import PATIENCE_S


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    code = tmp_path / "code with a space"
    for name, text in {"train.py": "1", "pkg/__init__.py": "", "pkg/deep/é.py": "2", "data/big.bin": "3", "data/README": "4",
                       "pkg/built.so": "5", "runs/r1/job.yaml": "", "runs/r1/plan.json": "{}", "runs/r1/x.py": "",
                       ".venv/pyvenv.cfg": "", ".venv/lib.py": "", "__pycache__/a.pyc": ""}.items():  # fmt: skip
        (code / name).parent.mkdir(parents=True, exist_ok=True)
        (code / name).write_text(text)
    (code / "outside.py").symlink_to("../elsewhere.py")
    (code / "inside.py").symlink_to("train.py")
    (tmp_path / "elsewhere.py").write_text("6")
    return code


def job(folder: Path) -> Job:
    return parse_job("run: {program: [x]}\n", workdir=str(folder))


def git(folder: Path, *argv: str) -> None:
    subprocess.run(["git", "-c", "user.name=me", "-c", "user.email=me@x", *argv], cwd=folder, check=True, capture_output=True)


def taken(folder: Path) -> Path:
    run = RunDir(folder.parent / "run")
    run.path.mkdir(exist_ok=True)
    snapshot.take(run, job(folder))
    return run.code


@pytest.fixture
def tracked(folder: Path) -> Path:
    (folder / ".gitignore").write_text("data/*.bin\n*.so\n.venv\n")
    git(folder, "init")
    git(folder, "add", "train.py", ".gitignore", "pkg/__init__.py")
    git(folder, "commit", "-m", "x")
    (folder / "train.py").write_text("changed")
    return folder


def test_git_copies_what_is_there_now_and_links_what_it_ignores(tracked: Path) -> None:
    code = taken(tracked)
    (tracked / "train.py").write_text("later")
    assert (code / "train.py").read_text() == "changed"
    assert (code / "pkg/deep/é.py").read_text() == "2"  # untracked
    assert not (code / "data/README").is_symlink()
    linked = {str(path.relative_to(code)) for path in code.rglob("*") if path.is_symlink()}
    assert linked == {"data/big.bin", "pkg/built.so", "runs", ".venv", "outside.py", "inside.py"}
    assert (code / "data/big.bin").read_text() == "3"


def test_without_git_hidden_folders_environments_and_runs_are_linked(folder: Path) -> None:
    code = taken(folder)
    linked = {path.name for path in code.iterdir() if path.is_symlink()}
    assert linked == {"runs", ".venv", "outside.py", "inside.py"}
    assert (code / "pkg/built.so").read_text() == "5"
    assert not (code / "__pycache__").exists()


def test_links_lead_where_they_led(tracked: Path) -> None:
    code = taken(tracked)
    assert (code / "outside.py").read_text() == "6"
    assert (code / "inside.py").readlink() == Path("train.py")


def test_later_copy_takes_the_place_of_the_earlier(folder: Path) -> None:
    taken(folder)
    (folder / "train.py").unlink()
    (folder / "new.py").write_text("7")
    code = taken(folder)
    assert (code / "new.py").exists()
    assert not (code / "train.py").exists()
    assert sorted(path.name for path in code.parent.iterdir()) == ["code"]


def test_too_much_is_refused_with_the_largest_files_and_the_way_out(folder: Path) -> None:
    with (folder / "weights.bin").open("wb") as file:
        file.truncate(snapshot.MOST_BYTES + 1)
    with pytest.raises(UsageError, match=r"200\.0 MB  weights\.bin\n(.|\n)*resources\.snapshot=false"):
        snapshot.survey(job(folder))


def test_deleted_files_and_repositories_within_are_no_obstacle(tracked: Path) -> None:
    (tracked / "pkg/__init__.py").unlink()
    (tracked / "inner").mkdir()
    git(tracked / "inner", "init")
    (tracked / "inner" / "lib.py").write_text("8")
    code = taken(tracked)
    assert (code / "inner/lib.py").read_text() == "8"
    assert not (code / "inner/.git").exists()
    assert not (code / "pkg/__init__.py").exists()


def test_one_copy_is_shared_by_runs_that_can_be_moved_apart(folder: Path) -> None:
    code = taken(folder)
    trial = RunDir(folder.parent / "run/trials/0")
    trial.path.mkdir(parents=True)
    for _ in range(2):
        snapshot.share(trial, code)
    assert (trial.code / "train.py").stat().st_ino == (code / "train.py").stat().st_ino
    moved = trial.path.rename(folder.parent / "elsewhere") / "code"
    assert (moved / "pkg/deep/é.py").read_text() == "2"
    assert (moved / "inside.py").readlink() == Path("train.py")


def test_what_is_recorded_of_the_code_is_that_of_the_copy(tracked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "GIT_TIMEOUT_S", PATIENCE_S)
    run = RunDir(tracked / "runs" / "one")
    run.path.mkdir(parents=True)
    provenance.keep_code(run, str(tracked))
    first = read_json(run.provenance)["git"]["commit"]
    git(tracked, "commit", "--allow-empty", "-m", "later")
    provenance.keep(run, str(tracked))  # as the job begins
    told = read_json(run.provenance)
    assert (told["git"]["commit"], "packages" in told) == (first, True)
    provenance.keep_code(run, str(tracked))  # as it is resumed
    assert read_json(run.provenance)["git"]["commit"] != first
    assert read_json(run.path / "provenance-1.json")["git"]["commit"] == first
    for text in ("a\r\n", "a\r\n", "b\n"):
        (tracked / "train.py").write_bytes(text.encode())
        provenance.keep_code(run, str(tracked))
    changes = [path.read_text() for path in sorted(run.path.glob("uncommitted-*.diff"))]
    assert [any(f"+{word}" in change for change in changes) for word in ("changed", "a", "b")] == [True, True, False]
    assert "+b" in run.diff.read_text()
    assert len(changes) == 3
