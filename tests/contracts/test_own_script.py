"""CONTRACTS.md, "In a user's own script", and the rows of SPEC.md that say how a program is started."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.conftest import Desk, script_job

SHOW = """
import json, os, sys
with open(f"shown-{os.environ.get('RANK')}.json", "w") as file:
    json.dump({"argv": sys.argv, "cwd": os.getcwd(), "env": dict(os.environ), "name": __name__}, file)
"""
TORCHRUN = {
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "GROUP_RANK",
    "GROUP_WORLD_SIZE",
    "ROLE_RANK",
    "ROLE_NAME",
    "ROLE_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
}


def shown(desk: Desk, rank: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((desk.folder / f"shown-{rank}.json").read_text())
    return found


def run(desk: Desk, *, env: dict[str, str] | None = None, job_env: dict[str, str] | None = None, **job: Any) -> dict[str, Any]:
    """What rank 0 saw: `env` is the caller's environment, `job_env` that of the job."""
    desk.write("own.py", SHOW)
    outcome = desk.launch(desk.job(script_job(env=job_env or {}, **job)), env=env)
    assert outcome.code == 0, outcome.said
    return shown(desk)


BYTES = {
    "NO": "no",
    "NUMBER": "1e-3",
    "NOTHING": "",
    "SPACES": "  a  ",
    "LINES": "a\nb",
    "QUOTES": "\"'\\",
    "DOLLAR": "$HOME ${HOME} $(id) `id`",
    "UNICODE": "é ☃ 𝄞",
    "EQUALS": "a=b",
    "ASKED": "${env:SECRET}",
    "WITHIN": "<${env:SECRET}>",
}


def test_env_reaches_the_ranks_byte_for_byte_and_secrets_no_file(desk: Desk) -> None:
    told = run(desk, env={"SECRET": "hush-hush"}, job_env=BYTES)["env"]
    assert {name: told[name] for name in BYTES} == {**BYTES, "ASKED": "hush-hush", "WITHIN": "<hush-hush>"}
    holders = [each for each in desk.run().rglob("*") if each.is_file() and b"hush-hush" in each.read_bytes()]
    assert holders == []


def test_a_variable_that_is_asked_for_and_not_there_is_told(desk: Desk) -> None:
    desk.write("own.py", SHOW)
    outcome = desk.launch(desk.job(script_job(env={"TOKEN": "${env:NOT_THERE}"})))
    assert outcome.code in (2, 3), outcome.said
    assert "NOT_THERE" in outcome.said


def test_launch_hands_its_own_environment_to_the_ranks_less_what_the_spec_changes(desk: Desk) -> None:
    resources = {"procs_per_node": 1, "threads": 3, "device": "cpu"}
    env = run(desk, env={"OWN": "kept", "CHANGED": "before"}, job_env={"CHANGED": "after"}, resources=resources)["env"]
    handed = {**desk.environment(), "OWN": "kept", "CHANGED": "after"}
    assert {name: env.get(name) for name in handed} == handed
    more = {
        name
        for name in env.keys() - handed.keys() - TORCHRUN
        if not name.startswith(("LAUNCHER_", "TORCHELASTIC_", "TORCH_NCCL"))
    }
    assert more <= {"OMP_NUM_THREADS", "PYTHONPATH", "LC_CTYPE"}
    assert env["OMP_NUM_THREADS"] == "3"


def test_ranks_have_torchruns_environment_and_launchers_two(desk: Desk) -> None:
    env = run(desk, resources={"procs_per_node": 2, "nodes": 2, "threads": 1, "device": "cpu"})["env"]
    assert env.keys() >= TORCHRUN
    last = shown(desk, 3)["env"]
    assert [last[name] for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK")] == [
        "3",
        "1",
        "4",
        "2",
        "1",
    ]
    assert (last["LAUNCHER_RUN_DIR"], last["LAUNCHER_ATTEMPT"]) == (str(desk.run()), "1")


@pytest.mark.parametrize("how", ["script", "module", "program"])
def test_a_script_a_module_and_a_program_get_their_arguments_as_they_stand(desk: Desk, how: str) -> None:
    args = ["--config", "two words", "$HOME", "", "*", "'q'"]
    ways = {"script": "own.py", "module": "own", "program": [sys.executable, "own.py"]}
    told = run(desk, run={how: ways[how], "args": args})
    assert told["argv"][1:] == args
    assert told["name"] == "__main__"
    assert told["cwd"] == str(desk.folder)


def test_a_program_needs_no_python(desk: Desk) -> None:
    outcome = desk.launch(desk.job(script_job(run={"program": ["/bin/sh", "-c", 'echo "rank $RANK says $0"', "hello"]})))
    assert outcome.code == 0, outcome.said
    assert "rank 0 says hello" in outcome.said


def test_paths_are_relative_to_workdir_which_is_importable(desk: Desk, tmp_path: Path) -> None:
    desk.write("code/beside.py", "WORD = 'from workdir'\n")
    desk.write("code/inner/own.py", "import beside, os\nprint(beside.WORD, os.getcwd(), flush=True)\n")
    outcome = desk.launch(desk.job(script_job(workdir="code", run={"script": "inner/own.py"})))
    assert outcome.code == 0, outcome.said
    assert f"from workdir {desk.folder / 'code'}" in outcome.said
    assert f"workdir: {desk.folder / 'code'}" in (desk.run() / "job.yaml").read_text()


def test_workdir_is_the_folder_where_launch_is_called_not_where_the_spec_lies(desk: Desk) -> None:
    desk.write("own.py", SHOW)
    desk.write("jobs/elsewhere.yaml", "extends: [base/common.yaml, base/more.yaml]\nrun: {script: own.py}\n")
    desk.write("jobs/base/common.yaml", "resources: {procs_per_node: 1, device: cpu, threads: 2}\n")
    desk.write("jobs/base/more.yaml", "resources: {threads: 1}\n")
    outcome = desk.launch("jobs/elsewhere.yaml")
    assert outcome.code == 0, outcome.said
    assert shown(desk)["cwd"] == str(desk.folder)
    assert shown(desk)["env"]["OMP_NUM_THREADS"] == "1", "merged in order"
    assert f"workdir: {desk.folder}\n" in (desk.run() / "job.yaml").read_text()
    assert "extends" not in (desk.run() / "job.yaml").read_text()
    assert desk.run().name[16:].startswith("elsewhere-"), "named after the file's stem"


def test_procs_per_node_auto_is_one_for_two_cores_and_threads_are_resolved_once(desk: Desk) -> None:
    env = run(desk, resources={"procs_per_node": "auto", "threads": "auto", "device": "cpu"})["env"]
    assert int(env["WORLD_SIZE"]) == max(1, len(os.sched_getaffinity(0)) // 2)
    assert f"threads: {env['OMP_NUM_THREADS']}\n" in (desk.run() / "job.yaml").read_text()


def test_nodes_rehearse_a_cluster_and_the_screen_says_so(desk: Desk) -> None:
    desk.write("own.py", SHOW)
    outcome = desk.launch(desk.job(script_job()), "--nodes", "2")
    assert outcome.code == 0, outcome.said
    assert "rehears" in outcome.said
    assert (shown(desk, 1)["env"]["GROUP_RANK"], shown(desk, 1)["env"]["LOCAL_RANK"]) == ("1", "0")
    assert "nodes: 2" in (desk.run() / "job.yaml").read_text()


def test_the_other_engine_is_stock_torchrun(desk: Desk) -> None:
    told = run(desk, resources={"procs_per_node": 2, "threads": 1, "device": "cpu", "agent": "torchrun"})
    assert told["env"]["TORCHELASTIC_RUN_ID"]
    assert told["env"]["LAUNCHER_RUN_DIR"] == str(desk.run())
    assert desk.status()["state"] == "done"
    assert (desk.run() / "logs" / "attempt-1" / "rank-1.log").exists()


NOTHING_TO_DO = """
import launcher, os
assert launcher.should_stop() is False
launcher.pulse()
launcher.pulse()
print("rank", os.environ.get("RANK"), flush=True)
"""


def test_should_stop_and_pulse_do_nothing_under_plain_python_and_torchrun(desk: Desk) -> None:
    desk.write("own.py", NOTHING_TO_DO)
    assert desk.call(sys.executable, "own.py").out == "rank None\n"
    torchrun = str(Path(sys.executable).with_name("torchrun"))
    outcome = desk.call(torchrun, "--standalone", "--nproc-per-node=1", "own.py")
    assert outcome.code == 0, outcome.said
    assert "rank 0" in outcome.said


@pytest.mark.long
def test_a_script_that_never_pulses_is_beyond_its_first_step_after_a_minute(desk: Desk) -> None:
    desk.write("own.py", "import os, time\nif os.environ['LAUNCHER_ATTEMPT'] == '1':\n    time.sleep(90)\n    raise ValueError\n")
    outcome = desk.launch(desk.job(script_job(retry={"max_restarts": 1})))
    assert outcome.code == 0, outcome.said
    assert desk.status()["attempts"] == 2


def test_a_script_is_beyond_its_first_step_after_its_first_pulse(desk: Desk) -> None:
    desk.write(
        "own.py",
        "import launcher, os\nlauncher.pulse()\nif os.environ['LAUNCHER_ATTEMPT'] == '1':\n    raise ValueError('later')\n",
    )
    outcome = desk.launch(desk.job(script_job(retry={"max_restarts": 1})))
    assert outcome.code == 0, outcome.said
    assert desk.status()["attempts"] == 2


def test_a_pulse_of_rank_0_is_the_first_step_of_all(desk: Desk) -> None:
    desk.write(
        "own.py",
        "import launcher, os, time\nif os.environ['RANK'] == '0':\n    launcher.pulse(7)\n    open('pulsed', 'w').close()\n"
        "while not os.path.exists('pulsed'):\n    time.sleep(0.01)\n"
        "if os.environ['RANK'] + os.environ['LAUNCHER_ATTEMPT'] == '11':\n    raise ValueError('later')\n",
    )
    resources = {"procs_per_node": 2, "threads": 1, "device": "cpu"}
    outcome = desk.launch(desk.job(script_job(retry={"max_restarts": 1}, resources=resources)))
    assert outcome.code == 0, outcome.said
    assert desk.status()["attempts"] == 2


def test_the_screen_shows_the_ranks_that_are_asked_for(desk: Desk) -> None:
    desk.write("own.py", "import os\nprint('this is', os.environ['RANK'], flush=True)\n")
    job = desk.job(script_job(resources={"procs_per_node": 3, "threads": 1, "device": "cpu"}))
    said = desk.launch(job, "--ranks", "0,2").said
    assert ["this is 0" in said, "this is 1" in said, "this is 2" in said] == [True, False, True]
    assert desk.launch("logs", "last").out.strip() == "this is 0"
    assert "this is 1" in desk.launch("logs", "last", "--ranks", "1").out
