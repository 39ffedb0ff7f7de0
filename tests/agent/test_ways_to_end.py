"""However a rank ends, its exit code, its log and its error file say the same as plain python would have said."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from launcher.rundir import RunDir
from tests.agent.pipes import Supervisor, make_run


@dataclass(frozen=True, kw_only=True)
class End:
    script: str
    code: int
    says: str = ""
    error: str | None = None
    line: int | None = None


ENDS = {
    "falls off": End(script="print('fine')", code=0, says="fine"),
    "exit none": End(script="import sys; sys.exit()", code=0),
    "exit zero": End(script="import sys; sys.exit(0)", code=0),
    "exit number": End(script="import sys\nsys.exit(7)", code=7, error="SystemExit", line=2),
    "exit big number": End(script="import sys; sys.exit(256 + 5)", code=5, error="SystemExit", line=1),
    "exit negative": End(script="import sys; sys.exit(-1)", code=255, error="SystemExit", line=1),
    "exit text": End(script="import sys; sys.exit('no data')", code=1, says="no data", error="SystemExit", line=1),
    "exception": End(script="def f():\n    return {}['k']\nf()", code=1, says="KeyError: 'k'", error="KeyError", line=2),
    "in a package": End(script="import json\n\njson.loads('{')", code=1, says="JSONDecodeError", error="JSONDecodeError", line=3),
    "chained": End(script="try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise OSError('late') from e",
                   code=1, says="direct cause", error="OSError", line=4),
    "syntax": End(script="x = 1\ny = = 2", code=1, says="SyntaxError", error="SyntaxError", line=2),
    "no such import": End(script="import nothing_like_it", code=1, says="nothing_like_it", error="ModuleNotFoundError", line=1),
    "interrupt": End(script="raise KeyboardInterrupt", code=130, says="KeyboardInterrupt"),
    "killed": End(script="import os; os.kill(os.getpid(), 9)", code=-signal.SIGKILL),
    "terminated": End(script="import os; os.kill(os.getpid(), 15)", code=-signal.SIGTERM),
    "segmentation fault": End(script="import ctypes; ctypes.string_at(0)", code=-signal.SIGSEGV, says="Fatal Python error"),
    "abort": End(script="import os; os.abort()", code=-signal.SIGABRT, says="Fatal Python error"),
    "os._exit": End(script="import os; print('told', flush=True); os._exit(9)", code=9, says="told"),
    "thread left": End(script="import threading, time\n"
                       "threading.Thread(target=lambda: (time.sleep(0.2), print('thread done'))).start()",
                       code=0, says="thread done"),
    "daemon thread left": End(script="import threading, time\n"
                              "threading.Thread(target=time.sleep, args=(99,), daemon=True).start()",
                              code=0),
    "child left": End(script="import subprocess\nsubprocess.Popen(['sleep', '300'])", code=0),
    "pool left": End(script="import multiprocessing as m\nif __name__ == '__main__':\n    p = m.Pool(1); print(p.map(abs, [-3]))",
                     code=0, says="[3]"),
    "atexit": End(script="import atexit; atexit.register(print, 'at the end')", code=0, says="at the end"),
    "atexit after an exception": End(script="import atexit; atexit.register(print, 'at the end')\nraise ValueError('v')",
                                     code=1, says="at the end", error="ValueError", line=2),
    "C output unflushed": End(script="import ctypes; ctypes.CDLL(None).printf(b'from C')", code=0, says="from C"),
    "output without an end of line": End(script="print('half', end='')", code=0, says="half"),
    "own kind": End(script="class Wrong(Exception):\n    kind = 'spec'\n    details = {'a': 1}\nraise Wrong('w')",
                    code=2, error="Wrong", line=4),
    "caused elsewhere": End(script="import concurrent.futures as f\ndef work():\n    return 1 / 0\n"
                            "with f.ThreadPoolExecutor() as pool:\n    pool.submit(work).result()",
                            code=1, says="ZeroDivisionError", error="ZeroDivisionError", line=3),
    "unprintable": End(script="class Odd(Exception):\n    def __str__(self): return 1 / 0\nraise Odd",
                       code=1, error="Odd", line=3),
}  # fmt: skip


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervisor]:
    """One agent for all of them: the same warm fork server takes run after run."""
    folder = tmp_path_factory.mktemp("ends")
    supervisor = Supervisor(make_run(folder / "first", ""))
    yield supervisor
    supervisor.close()


@pytest.mark.parametrize("name", ENDS)
def test_code_log_and_error_file(name: str, agent: Supervisor, tmp_path: Path) -> None:
    end = ENDS[name]
    agent.run = make_run(tmp_path, end.script)
    agent.start()
    assert agent.codes() == [end.code]
    assert end.says in agent.log()
    check_error(agent.run, end)


def check_error(run: RunDir, end: End) -> None:
    if end.error is None:
        assert not run.rank_error(1, 0).exists()
        return
    told = json.loads(run.rank_error(1, 0).read_text())
    assert told["exception"] == end.error
    assert told["where"] == f"{run.path.parent / 'work' / 'train.py'}:{end.line}"


@pytest.mark.parametrize("name", [name for name, end in ENDS.items() if end.code != 130 and "left" not in name])
def test_plain_python_ends_with_the_same_code(name: str, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(ENDS[name].script)
    code = subprocess.run([sys.executable, str(script)], capture_output=True).returncode
    assert code == (1 if name == "own kind" else ENDS[name].code)
