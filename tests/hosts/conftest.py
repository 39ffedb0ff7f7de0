"""Hosts with a real sshd, and a folder from which a person at h0 launches."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.conftest import Desk, lines, until
from tests.contracts.conftest import desks as desks
from tests.hosts.park import NEEDED, Park
from tests.patience import PATIENCE_S
from tests.slurm.cluster import missing

TICKING = "import sys, time\nprint('up', flush=True)\nwhile True:\n    time.sleep(0.05)\n"


@pytest.fixture(scope="session")
def park() -> Iterator[Park]:
    if (reason := missing(NEEDED)) is not None:
        pytest.skip(reason)
    # A short path: sockets lie in it.
    folder = Path(tempfile.mkdtemp(prefix="park-", dir="/tmp"))
    with Park(folder) as made:
        yield made
    shutil.rmtree(folder)


class Seat(Desk):
    """A desk at h0, from where the hosts are reached."""

    def __init__(self, folder: Path, park: Park) -> None:
        super().__init__(folder)
        self.park = park

    def popen(self, argv: list[str], *, cwd: Any, env: Any, out: Any, err: Any) -> subprocess.Popen[bytes]:
        own = {"XDG_STATE_HOME": str(self.folder / "state"), **(env or {})}  # which hosts failed lately is remembered
        inside = ["sh", "-c", f'cd "{cwd or self.folder}" && exec "$@"', "sh", *argv]
        words = [f"{name}={value}" for name, value in own.items()]
        return super().popen(self.park.command(*words, *inside), cwd=cwd, env=None, out=out, err=err)

    def program(self, text: str = TICKING, **resources: Any) -> str:
        """A job whose ranks run a script as a program: no torch is imported."""
        script = self.write("own.py", text)
        where = {"procs_per_node": 1, "hosts": ["h1", "h2", "h3"], "snapshot": False, **resources}
        return self.job({"resources": where, "run": {"program": ["python3", str(script)]}})

    def events(self, name: str) -> list[dict[str, Any]]:
        return [each for run in self.runs() for each in lines(run / "events.jsonl") if each["event"] == name]

    def logs(self) -> dict[str, str]:
        """attempt-N/rank-R -> what it wrote."""
        return {f"{log.parent.name}/{log.stem}": log.read_text() for log in self.run().glob("logs/attempt-*/rank-*.log")}

    def up(self, attempt: int, ranks: int, within_s: float = PATIENCE_S) -> None:
        until(lambda: self.runs() and self.ups()[attempt] == ranks, within_s)

    def up_again(self, ranks: int) -> None:
        """In any later attempt: a supervisor held up just as a node fell silent takes it for well, and tries it once more."""
        until(lambda: any(number == ranks for attempt, number in self.ups().items() if attempt > 1))

    def ups(self) -> Counter[int]:
        """Attempt -> how many of its ranks are up."""
        return Counter(int(name.split("/")[0].removeprefix("attempt-")) for name, text in self.logs().items() if "up" in text)


@pytest.fixture
def seat(park: Park, tmp_path: Path) -> Iterator[Seat]:
    made = Seat(tmp_path, park)
    yield made
    made.clear()
    park.wait_quiet()
