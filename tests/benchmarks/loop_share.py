"""The share of a finished run's wall time that lies between its first step and its last.

python tests/benchmarks/loop_share.py runs/RUN
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path


def main() -> None:
    entries = map(json.loads, (Path(sys.argv[1]) / "events.jsonl").read_text().splitlines())
    times = {entry["event"]: datetime.fromisoformat(entry["time"]).timestamp() for entry in entries}
    whole, loop = times["done"] - times["supervising"], times["trained"] - times["running"]
    print(f"{loop:.1f} s of {whole:.1f} s in the loop: {loop / whole:.1%}")


main()
