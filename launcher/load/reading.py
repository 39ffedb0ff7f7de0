"""A job file's bytes, refused before they can do harm."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from launcher.errors import Problem, SpecError, did_you_mean, near
from launcher.load.nodes import Place, Source

LARGEST_FILE = 1_000_000
"""Bytes; a job is a few hundred."""
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]|[\ufeff\ufffe\uffff]|[\ud800-\udfff]")


def read_source(path: str | os.PathLike[str]) -> Source:
    """Raises SpecError where it is no text file of a sensible size."""
    name = os.fspath(path)
    try:
        if not stat.S_ISREG(Path(name).stat().st_mode):
            what = "a folder" if Path(name).is_dir() else "not a regular file"
            raise SpecError([Problem(source=name, message=f"is {what}; a job is a YAML file")])
        if name.endswith(".py"):
            raise SpecError([Problem(source=name, message=f"is a script; a job is a YAML file: 'run: {{script: {name}}}'")])
        with Path(name).open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        raise SpecError([Problem(source=name, message=f"there is no such file{nearest_file(Path(name))}")]) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SpecError([Problem(source=name, message=f"cannot be read: {reason}")]) from None
    return decoded(name, data)


def nearest_file(path: Path) -> str:
    try:
        present = [entry.name for entry in path.parent.iterdir() if entry.suffix in (".yaml", ".yml")]
    except OSError:
        return f" (nor the folder {path.parent})"
    close = near(path.name, present) or next((name for name in present if Path(name).stem == path.name), None)
    return f".{did_you_mean(str(path.parent / close))}" if close else ""


def decoded(name: str, data: bytes) -> Source:
    """Raises SpecError where the bytes are too many, are not UTF-8 or hold control characters."""
    start = Place(Source(name, ""))
    if len(data) > LARGEST_FILE:
        raise SpecError([start.problem(f"the file is larger than {LARGEST_FILE // 1000:,} kB: this is not a job")])
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") or data[:4] == b"\x00\x00\xfe\xff":
        raise SpecError([start.problem("the file is in UTF-16 or UTF-32: save it as UTF-8")])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = Source(name, data[: error.start].decode("utf-8", "replace")).end
        raise SpecError([place.problem(f"byte 0x{data[error.start]:02x} is not UTF-8: save the file as UTF-8")]) from None
    source = Source(name, text)
    refuse_control_characters(source)
    return source


def refuse_control_characters(source: Source) -> None:
    """Raises SpecError at the first one."""
    found = CONTROL.search(source.text)
    if found:
        place = Source(source.name, source.text[: found.start()], source.numbered).end
        what = "a NUL byte" if found[0] == "\0" else f"the character U+{ord(found[0]):04X}"
        raise SpecError([place.problem(f"{what} cannot stand in a job: this is not text")])
