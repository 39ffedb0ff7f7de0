"""How a rank ends: an exit code, an error file where it raised, and everything flushed that plain python would have flushed."""

from __future__ import annotations

import atexit
import ctypes
import json
import os
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from launcher import rank
from launcher.errors import EXIT_CODES
from launcher.rundir import write_json

INTERRUPTED = 130
INSTALLED = ("site-packages", "dist-packages")
AGENT = str(Path(__file__).parent) + os.sep
OURS = str(Path(__file__).parent.parent) + os.sep
STDLIB = str(Path(os.__file__).parent) + os.sep


def outcome(error_file: str | None, program: Callable[[], None]) -> int:
    """Runs it and returns its exit code (0 to 255). Where it raised, `error_file` says what."""
    try:
        program()
    except SystemExit as error:
        return leave(error, error_file)
    except KeyboardInterrupt:
        traceback.print_exc()
        return INTERRUPTED
    except BaseException as error:
        error.__traceback__ = trimmed(error.__traceback__)
        kind = getattr(error, "kind", "error")
        write_error(error, error_file, kind if isinstance(kind, str) else "error")
        show(error)
        return EXIT_CODES.get(kind, 1) if isinstance(kind, str) else 1
    return 0


def leave(error: SystemExit, error_file: str | None) -> int:
    """sys.exit(): nothing is 0, a number its low byte, anything else goes to stderr and is 1."""
    if error.code is None:
        return 0
    if not isinstance(error.code, int):
        sys.stderr.write(f"{error.code}\n")
    code = error.code & 0xFF if isinstance(error.code, int) else 1
    if code not in (0, rank.SAVED):
        write_error(error, error_file, "exit")
    return code


def trimmed(trace: TracebackType | None) -> TracebackType | None:
    """From the program's own first frame on, as plain python has it."""
    while trace is not None and trace.tb_next is not None:
        file = trace.tb_frame.f_code.co_filename
        if not (file.startswith(AGENT) or pythons(file)):
            break
        trace = trace.tb_next
    return trace


def show(error: BaseException) -> None:
    """By the user's own hook where there is one."""
    with suppress(Exception):
        sys.excepthook(type(error), error, error.__traceback__)


def write_error(error: BaseException, path: str | None, kind: str) -> None:
    if path is None:
        return
    details = getattr(error, "details", None)
    details = details if isinstance(details, dict) else {}
    report: dict[str, Any] = {
        "exception": type(error.__cause__ if hasattr(error, "kind") and error.__cause__ else error).__name__,
        "message": message(error),
        # An error that came from a loader's process has no frames here: it brings its place along.
        "where": where(error) or details.get("where"),
        "traceback": "".join(traceback.format_exception(error)),
        "step": rank.last_step(),
        "kind": kind,
    }
    if details:
        report["details"] = json.loads(json.dumps(details, default=str))
    with suppress(OSError, TypeError, ValueError):
        write_json(Path(path), report, durable=False)


def message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # a user's __str__
        return f"(its message cannot be shown: {type(broken).__name__})"


def where(error: BaseException) -> str | None:
    """file:line of the user's code: where the error, or else its cause, left code that is not Python's, a package's, or ours."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    package = users_package([file for file, _ in frames])
    own = [f"{file}:{line}" for file, line in frames if not foreign(file) or (package and file.startswith(package))]
    cause = error.__cause__ or error.__context__
    return own[-1] if own else where(cause) if cause is not None else None


def users_package(files: Sequence[str]) -> str | None:
    """The folder of an installed package that is itself the user's program (`run: {module: ...}`)."""
    outermost = next((file for file in files if not pythons(file) and not file.startswith(AGENT)), None)
    if outermost is None or outermost.startswith(OURS) or not foreign(outermost):
        return None
    above, _, below = outermost.rpartition("-packages" + os.sep)
    return f"{above}-packages{os.sep}{below.partition(os.sep)[0]}"


def foreign(file: str) -> bool:
    return pythons(file) or file.startswith(OURS) or any(part in file for part in INSTALLED)


def pythons(file: str) -> bool:
    """The standard library's. Installed packages may lie below it."""
    return file.startswith("<frozen") or (file.startswith(STDLIB) and not any(part in file for part in INSTALLED))


def finish(code: int) -> NoReturn:
    """The end of an interpreter, for a process that was forked: multiprocessing would skip all of it."""
    with suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]
    with suppress(BaseException):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    ctypes.CDLL(None).fflush(None)
    os._exit(code)
