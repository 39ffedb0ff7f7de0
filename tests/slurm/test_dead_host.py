"""The batch host dies by a power cut: Slurm keeps its job running for as long as other nodes of it live."""

from __future__ import annotations

import json
import os
import signal

from tests.slurm.counting import SOON_LOST, Counting, events, wait, wait_for, wait_for_end
from tests.slurm.test_ladder import command


def test_status_tells_of_it_while_its_job_still_runs(counting: Counting) -> None:
    with counting.held():
        run = counting.launch(60, resources={"nodes": 2}, retry=SOON_LOST)
        wait_for(run, "running")
        successor = wait_for(run, "successor")["job"]
        first, (host, other) = counting.job(run), counting.hosts(run)
        agents = [pid for pid in counting.cluster.nodes[other].processes() if b"launcher.agent" in command(pid)]
        for pid in agents:
            os.kill(pid, signal.SIGSTOP)  # or they would soon cancel the job
        counting.cluster.crash(host)
    told: dict[str, str] = {}

    def is_told() -> bool:
        told.update(json.loads(counting.call("status", str(run.path), "--json")))
        return told["state"] != "running"

    wait(run, is_told, "the status to say more than running")
    still = counting.cluster.run("squeue", "-h", "-j", first, "-o", "%T").strip()
    assert (told["state"], told["job"], still) == ("queued", successor, "RUNNING")
    assert f"{host}, where its supervisor ran, is dead (" in told["reason"]
    for pid in agents:
        os.kill(pid, signal.SIGCONT)
    wait_for_end(run, "done")
    assert len(events(run, "supervising")) == 2
