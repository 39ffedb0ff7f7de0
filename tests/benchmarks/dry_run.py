"""`launch SPEC --dry-run` against a Python that imports yaml, pydantic and rich. Reach: <= 1.5x."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from paired import in_turn, report

SPEC = Path(__file__).parents[2] / "jobs/resnet.yaml"


def run(*argv: str) -> float:
    began = time.perf_counter()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    launch = str(Path(sys.executable).with_name("launch"))
    ours, bare = in_turn(
        lambda: run(launch, str(SPEC), "--dry-run"),
        lambda: run(sys.executable, "-c", "import yaml, pydantic, rich"),
        pairs=20,
    )
    report("launch --dry-run", ours, bare, ("launch jobs/resnet.yaml --dry-run", "import yaml, pydantic, rich"))


main()
