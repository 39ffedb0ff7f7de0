"""What a forked rank does from its first to its last instruction: it becomes the program that the job names.

The user's code finds itself where `python script.py` would have put it: `__main__`, sys.argv, sys.path, the working directory and
torchrun's environment; it ends as it would have ended there, with an exit code and, where it raised, a file that says what.
"""

from __future__ import annotations

import builtins
import faulthandler
import io
import multiprocessing
import os
import runpy
import signal
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from multiprocessing import process
from typing import NoReturn

from launcher.agent import preload, stacks
from launcher.agent.binding import keep_to
from launcher.agent.ending import finish, outcome
from launcher.agent.orphans import die_with_parent
from launcher.rank import FOLDER

PRIVATE_FROM = 3
"""The first descriptor that is not a standard stream."""


@dataclass(frozen=True, kw_only=True)
class Program:
    kind: str
    target: str
    argv: tuple[str, ...]
    cwd: str
    log: str
    """Output is appended to it."""
    error: str
    """Where a rank that raises says what."""
    environment: Mapping[str, str]
    cpus: Sequence[int] | None = None
    """Cores that it is kept to."""


def fork_main(program: Program) -> NoReturn:
    """In a child of the fork server; never returns."""
    die_with_parent(preload.server)
    os.setsid()  # as torchrun does: a script that signals its process group means its own
    become_main_process()
    reseed()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, preload.NOT_FOR_THE_SERVER)
    become(program)


def become(program: Program, told: Callable[[int], int] = int) -> NoReturn:
    """`told` hears the exit code and returns the one to end with."""
    os.environ.update(program.environment)
    keep_to(program.cpus)
    # Where loader processes meet: a folder that the agent removes. multiprocessing's own would stay when the rank is killed.
    process.current_process()._config["tempdir"] = program.environment[FOLDER]  # type: ignore[attr-defined]
    append_output_to(program.log)
    stacks.register(program.environment[FOLDER], os.environ["LOCAL_RANK"])
    code = outcome(program.error, lambda: execute(program))
    finish(told(code))


def become_main_process() -> None:
    """To multiprocessing as well: otherwise its default stays `forkserver`, and loader workers would run the script again."""
    multiprocessing.set_start_method(None, force=True)
    preload.main_process.name = "MainProcess"
    process._current_process = preload.main_process  # type: ignore[attr-defined]
    process._parent_process = None  # type: ignore[attr-defined]


def reseed() -> None:
    """Each rank its own random streams, as new interpreters have, where the script does not seed.

    Those of GPUs do not exist yet (torch.seed() would ask for them, which takes 5 ms), nor do NumPy's before their first use.
    """
    torch, numpy_random = sys.modules.get("torch"), sys.modules.get("numpy.random")
    if torch is not None:
        torch.default_generator.seed()
    if numpy_random is not None:
        numpy_random.seed()


def append_output_to(log: str) -> None:
    """Appending: the log is shared by both streams, and by what the rank starts."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for number in (1, 2):
        os.dup2(descriptor, number)
    os.close(descriptor)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)
    faulthandler.enable()


def execute(program: Program) -> None:
    os.chdir(program.cwd)
    if program.kind == "program":
        replace_process(program.target, program.argv)
    sys.modules["__main__"] = main = types.ModuleType("__main__")
    main.__dict__.update(__builtins__=builtins, __annotations__={})
    if program.kind == "script":
        run_script(program.target, program.argv)
    else:
        run_module(program.target, program.argv)


def replace_process(target: str, argv: Sequence[str]) -> NoReturn:
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and another program must not inherit that
        signal.signal(number, signal.SIG_DFL)
    os.closerange(PRIVATE_FROM, os.sysconf("SC_OPEN_MAX"))
    try:
        os.execvp(target, [target, *argv])  # noqa: S606  (argv as it is, no shell)
    except OSError as error:
        raise OSError(error.errno, error.strerror, target) from None


def run_script(path: str, argv: Sequence[str]) -> None:
    sys.argv = [path, *argv]
    if not os.path.isfile(path):  # noqa: PTH113  (a folder or an archive with a __main__; or nothing, which says so itself)
        sys.path.insert(0, path)
        runpy.run_path(path, run_name="__main__")
        return
    sys.path.insert(0, os.path.dirname(os.path.realpath(path)))  # noqa: PTH120
    if os.getcwd() not in sys.path:  # noqa: PTH109
        sys.path.append(os.getcwd())  # noqa: PTH109  (workdir is importable; last: what lies beside the script goes first)
    main = sys.modules["__main__"]
    main.__dict__.update(__file__=path, __cached__=None, __loader__=SourceFileLoader("__main__", path))
    with open(path, "rb") as file:  # noqa: PTH123
        code = compile(file.read(), path, "exec", dont_inherit=True)
    # Not runpy.run_path, which takes `__main__` away again while threads and exit handlers of the script still need it.
    exec(code, main.__dict__)  # noqa: S102


def run_module(name: str, argv: Sequence[str]) -> None:
    sys.argv = ["-m", *argv]
    sys.path.insert(0, os.getcwd())  # noqa: PTH109
    # What `python -m` itself calls.
    runpy._run_module_as_main(name)  # type: ignore[attr-defined]
