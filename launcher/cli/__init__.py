"""The command line. `main` is the one place that catches errors and turns them into words and exit codes."""

from __future__ import annotations

import atexit
import contextlib
import errno
import gc
import os
import sys
from collections.abc import Sequence

INTERRUPTED = 130
BROKEN_PIPE = 141
"""128 + SIGPIPE: what a shell reports for a program that the reader of its output left."""
COMPLETION = "_LAUNCH_COMPLETE"
"""The shell's question, by which click's completion scripts ask for words."""
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ESTALE)
"""What a file system says that is no bug of ours."""
BUG = 70
"""EX_SOFTWARE of sysexits.h."""
GARBAGE = 100_000
"""Objects made since the last collection that make the next one due (Python: 700)."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Returns its exit code; no traceback for anything that a user can do wrong."""
    try:
        return answered(argv)
    except KeyboardInterrupt:
        return INTERRUPTED


def answered(argv: Sequence[str] | None) -> int:
    # Imported here, where Ctrl-C is caught already.
    from launcher.errors import BackendError, LaunchError

    collect_less_garbage()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # a test's own stream may lack it
    try:
        # No list(...) here: once the command of that name is imported, it is this package's `list`.
        code = run_command(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except BrokenPipeError:
        from launcher.cli.terminal import turn_away

        turn_away(sys.stdout)
        return BROKEN_PIPE
    except LaunchError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except OSError as error:
        if error.errno not in DISK:
            report_bug()
            return BUG
        print(f"{error.strerror}: {error.filename or 'a file of the run'}", file=sys.stderr)
        return BackendError.exit_code
    except Exception:
        report_bug()
        return BUG
    return code


def collect_less_garbage() -> None:
    """What imports allocate stays: looking through it on the way in and on the way out is a seventh of a short command."""
    gc.set_threshold(GARBAGE)
    atexit.register(gc.freeze)


def run_command(argv: Sequence[str]) -> int:
    from click.exceptions import Abort, ClickException, Exit, NoSuchOption

    from launcher.cli.commands import launch

    if COMPLETION in os.environ:
        launch.main([*argv], prog_name="launch", complete_var=COMPLETION)
    try:
        # Not launch.main(): it answers a broken pipe with exit code 1, which is a failed training.
        with launch.make_context("launch", [*argv]) as context:
            result = launch.invoke(context)
    except Exit as exit_:
        return exit_.exit_code
    except Abort:
        return INTERRUPTED
    except ClickException as error:
        error.show(sys.stderr)
        if isinstance(error, NoSuchOption) and (field := field_named(error.option_name)):
            print(f"{field} is a field of the job: --set {field}=VALUE", file=sys.stderr)
        return error.exit_code
    return result if isinstance(result, int) else 0


def field_named(option: str) -> str | None:
    """The field that somebody wanted to set by an option of its name."""
    from launcher.load.nearest import elsewhere

    return next(elsewhere(option.lstrip("-").replace("-", "_")), None)


def report_bug() -> None:
    import traceback

    traceback.print_exc()
    print("this is a bug in launcher, not in your job: please report it with the lines above", file=sys.stderr)
