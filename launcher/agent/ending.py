"""How a rank ends: an exit code, an error file where it raised, and everything flushed that plain python would have flushed."""

from __future__ import annotations

import atexit
import ctypes
import os
import sys
import sysconfig
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from launcher import rank
from launcher.rundir import write_json

EXIT_CODES = {"spec": 2, "environment": 3}
"""For exceptions that say of which kind they are; 1 for all others."""
INTERRUPTED = 130
SAVED = 75
"""Stopped and saved: an end that went well."""
NOT_USERS = (sysconfig.get_path("stdlib"), "site-packages", "dist-packages", "<frozen", str(Path(__file__).parent.parent))


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
    if code not in (0, SAVED):
        write_error(error, error_file, "exit")
    return code


def show(error: BaseException) -> None:
    """The traceback as plain python prints it, by the user's own hook where there is one."""
    frames = error.__traceback__
    while frames is not None and not_users(frames.tb_frame.f_code.co_filename) and frames.tb_next is not None:
        frames = frames.tb_next
    with suppress(Exception):
        sys.excepthook(type(error), error, frames)


def write_error(error: BaseException, path: str | None, kind: str) -> None:
    if path is None:
        return
    details = getattr(error, "details", None)
    report: dict[str, Any] = {
        "exception": type(error).__name__,
        "message": message(error),
        "where": where(error),
        "traceback": "".join(traceback.format_exception(error)),
        "step": rank.last_step(),
        "kind": kind,
    }
    if isinstance(details, dict):
        report["details"] = details
    with suppress(OSError, TypeError, ValueError):
        write_json(Path(path), report)


def message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # a user's __str__
        return f"(its message cannot be shown: {type(broken).__name__})"


def where(error: BaseException) -> str | None:
    """file:line of the user's code: the last frame of the traceback that is neither Python's, a package's, nor ours."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = [frame for frame in walk(error.__traceback__) if not not_users(frame[0])]
    return f"{frames[-1][0]}:{frames[-1][1]}" if frames else None


def walk(trace: TracebackType | None) -> list[tuple[str, int]]:
    return [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(trace)]


def not_users(file: str) -> bool:
    return any(part in file if "/" not in part else file.startswith(part) for part in NOT_USERS)


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
