"""Gaussian processes are asked in a process of their own: Optuna's needs torch, which the launch half never imports.

JSON lines over its standard streams: `{"ask": number, "known": null}` is answered by the parameters,
`{"tell": [number, end, value]}` by nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from launcher.errors import BackendError
from launcher.spec.sweep import Sweep


class GaussianProcess:
    """A Study in a child, as far as it is asked and told."""

    def __init__(self, sweep: Sweep, seed: int, whole: frozenset[str]) -> None:
        given = json.dumps({"sweep": sweep.model_dump(mode="json"), "seed": seed, "whole": sorted(whole)})
        run = "from launcher.search.gaussian import main; main()"
        # In a session of its own: a terminal's Ctrl-C is the sweep's, which ends this process in its own time.
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", run, given], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip

    def ask(self, number: int, known: Mapping[str, Any] | None = None) -> dict[str, Any]:
        self.say({"ask": number, "known": None if known is None else dict(known)})
        assert self.process.stdout is not None
        answer = self.process.stdout.readline()
        if not answer:
            raise BackendError("sweep.method: gp's own process ended. It needs torch and scipy: see its words above")
        drawn: dict[str, Any] = json.loads(answer)
        return drawn

    def tell(self, number: int, end: str, value: float | None) -> None:
        self.say({"tell": [number, end, value]})

    def say(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise BackendError("sweep.method: gp's own process ended. It needs torch and scipy: see its words above") from None

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def main() -> None:
    from launcher.search.space import distributions
    from launcher.search.study import Study

    given = json.loads(sys.argv[1])
    sweep = Sweep.model_validate(given["sweep"])
    study = Study(sweep, given["seed"], distributions(sweep, frozenset(given["whole"])))
    for line in sys.stdin:
        message = json.loads(line)
        if "ask" in message:
            print(json.dumps(study.ask(message["ask"], message["known"])), flush=True)
        else:
            study.tell(*message["tell"])
