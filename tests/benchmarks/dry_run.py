"""`launch SPEC --dry-run` against a Python that imports yaml, pydantic and rich. Reach: <= 1.5x.

`import pydantic` alone imports next to nothing: the second Python also defines one model, which brings the rest.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from paired import in_turn, report

SPEC = Path(__file__).parents[2] / "jobs/resnet.yaml"
IMPORTS = "import yaml, pydantic, rich"
PYTHONS = {IMPORTS: IMPORTS, "... and one pydantic model": f"{IMPORTS}\nclass Model(pydantic.BaseModel):\n    number: int"}


def run(*argv: str) -> float:
    began = time.perf_counter()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    launch = str(Path(sys.executable).with_name("launch"))
    for name, code in PYTHONS.items():
        ours, bare = in_turn(
            lambda: run(launch, str(SPEC), "--dry-run"), lambda code=code: run(sys.executable, "-c", code), pairs=20
        )
        report("launch --dry-run", ours, bare, ("launch jobs/resnet.yaml --dry-run", name))


main()
