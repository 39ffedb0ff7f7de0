"""A copy of the code as it is now, for a run that starts later or elsewhere: editing the source meanwhile changes nothing.

Copied is what git tracks and what it does not ignore, as it stands in the folder; without git, all but run directories, hidden
folders and virtual environments. What is left out is linked, so that data and built extensions are found under the same paths.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from launcher.errors import BackendError, UsageError
from launcher.rundir import RunDir
from launcher.spec import Job

MOST_BYTES = 200_000_000
MOST_FILES = 20_000
SHOWN = 5
"""Files that an error names."""
NEVER = frozenset({".git", "__pycache__"})
"""Neither copied nor linked."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What of a folder is copied."""

    folder: Path
    files: tuple[str, ...]
    """Relative to the folder."""


def survey(job: Job) -> Survey:
    """Raises UsageError where it is too much, or there is no such folder."""
    folder = Path(job.workdir)
    if not folder.is_dir():
        raise UsageError(f"workdir: there is no folder {folder}")
    files = tuple(without_runs(listed_by_git(folder) or list(walked(folder))))
    sizes = {name: (folder / name).lstat().st_size for name in files}
    refuse_too_much(folder, sizes)
    return Survey(folder=folder, files=files)


def refuse_too_much(folder: Path, sizes: dict[str, int]) -> None:
    total = sum(sizes.values())
    if total <= MOST_BYTES and len(sizes) <= MOST_FILES:
        return
    largest = sorted(sizes, key=lambda name: -sizes[name])[:SHOWN]
    shown = "\n".join(f"  {sizes[name] / 1e6:8.1f} MB  {name}" for name in largest)
    raise UsageError(
        f"resources.snapshot: the code in {folder} is {total / 1e6:,.0f} MB in {len(sizes):,} files, and at most "
        f"{MOST_BYTES / 1e6:.0f} MB in {MOST_FILES:,} files are copied. The largest:\n{shown}\n"
        "Let git ignore what is data (ignored files are linked, not copied), or run from the folder itself with "
        "--set resources.snapshot=false"
    )


def listed_by_git(folder: Path) -> list[str]:
    """Tracked and untracked files below the folder, those that are ignored apart; empty where git does not know it."""
    command = ["git", "-C", str(folder), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except OSError:
        return []
    names = [os.fsdecode(name) for name in done.stdout.split(b"\0") if name] if done.returncode == 0 else []
    return list(spread(folder, dict.fromkeys(names)))  # of a merge each version is listed


def spread(folder: Path, names: Iterable[str]) -> Iterator[str]:
    """Files that are there; of another repository inside this one, which git lists as a folder, all that it holds."""
    for name in names:
        path = folder / name
        if path.is_symlink() or path.is_file():
            yield name
        elif path.is_dir():
            yield from (f"{name.rstrip('/')}/{below}" for below in listed_by_git(path) or walked(path))


def walked(folder: Path) -> Iterator[str]:
    for place, folders, files in os.walk(folder):
        here = Path(place)
        folders[:] = [name for name in folders if not left_out(here / name)]
        linked = [name for name in folders if (here / name).is_symlink()]
        yield from ((here / name).relative_to(folder).as_posix() for name in [*files, *linked] if (here / name).lstat())


def left_out(path: Path) -> bool:
    return path.name.startswith(".") or path.name in NEVER or (path / "pyvenv.cfg").exists() or is_run(path)


def is_run(path: Path) -> bool:
    return (path / "plan.json").is_file() and (path / "job.yaml").is_file()


def without_runs(files: list[str]) -> list[str]:
    """Run directories lie beside the code, and git need not know of them."""
    known = set(files)
    plans = {str(PurePosixPath(name).parent) for name in files if name.rpartition("/")[2] == "plan.json"}
    runs = {folder for folder in plans if f"{folder}/job.yaml" in known}
    return [name for name in files if not any(str(parent) in runs for parent in PurePosixPath(name).parents)] if runs else files


def take(run: RunDir, job: Job) -> None:
    """Copies the job's code into the run directory, in the place of an earlier copy. Raises UsageError, BackendError."""
    found = survey(job)
    aside, before = run.path / ".code.new", run.path / ".code.old"
    try:
        for leftover in (aside, before):
            shutil.rmtree(leftover, ignore_errors=True)
        aside.mkdir()
        copy(found, aside)
        link_the_rest(found, aside)
        if run.code.exists():
            run.code.replace(before)
        aside.replace(run.code)
        shutil.rmtree(before, ignore_errors=True)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise BackendError(
            f"cannot copy the code of {found.folder} into {run.path}: {error.strerror}: {error.filename}"
        ) from None


def share(run: RunDir, code: Path) -> None:
    """Of one copy, by many runs: each has its own names for the same files, and can be copied or moved by itself."""
    if run.code.exists():
        return
    aside = run.path / ".code.new"
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(code, aside, symlinks=True, copy_function=linked)
    aside.replace(run.code)


def linked(source: str, target: str) -> None:
    """Some file systems know no second name of a file."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def copy(found: Survey, target: Path) -> None:
    for name in found.files:
        source, copied = found.folder / name, target / name
        copied.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            copied.symlink_to(destination(source, found.folder))
        else:
            shutil.copy2(source, copied)


def destination(link: Path, folder: Path) -> str:
    """Of a symbolic link: as it stands where it stays in the folder, else absolute."""
    stands = os.readlink(link)  # noqa: PTH115  # as text
    inside = Path(os.path.normpath(link.parent / stands)).is_relative_to(folder)
    return stands if inside and not stands.startswith("/") else os.path.normpath(link.parent / stands)


def link_the_rest(found: Survey, target: Path) -> None:
    """In each folder that was copied, what was not."""
    copied = set(found.files)
    folders = {str(parent) for name in copied for parent in PurePosixPath(name).parents} | {"."}
    for folder in sorted(folders):
        for entry in os.scandir(found.folder / folder):
            name = entry.name if folder == "." else f"{folder}/{entry.name}"
            if name not in copied and name not in folders and entry.name not in NEVER:
                (target / name).symlink_to(found.folder / name)
