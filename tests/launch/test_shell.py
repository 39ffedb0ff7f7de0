"""A shell on a run's node: the right way in, the run's folder and environment, and no secret on a command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from launcher import backends
from launcher.backends.hosts.ssh import over_ssh
from launcher.plan import Node


def node(argv: tuple[str, ...] = ()) -> Node:
    return Node(index=1, host="gpu2", address="gpu2", argv=argv, env={}, cpus=None, local_world_size=2)


@pytest.mark.parametrize("terminal", [True, False])
def test_the_way_in_is_the_backends(terminal: bool) -> None:
    agent = over_ssh("me@gpu2", ("python", "-m", "launcher.agent"), folder="/w", setup=("module load cuda",), needs_folder=False)
    ssh = backends.BACKENDS["hosts"].shell(node(agent), None, ("bash", "-c", "echo 'a b'"), terminal=terminal)
    srun = backends.BACKENDS["slurm"].shell(node(), "77", ("nvidia-smi",), terminal=terminal)
    assert ssh == ("ssh", *(["-t"] if terminal else []), "me@gpu2", """exec bash -c 'echo '"'"'a b'"'"''""")
    assert {"--jobid=77", "--overlap", "--nodelist=gpu2"} <= set(srun)
    assert ("--pty" in srun) == terminal
    assert srun[-1] == "nvidia-smi"
    assert backends.BACKENDS["local"].shell(node(), None, ("ls",), terminal=terminal) == ("ls",)


def launch(folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HIDDEN": "from here"}
    return subprocess.run([sys.executable, "-m", "launcher", *argv], cwd=folder, env=environment, capture_output=True, text=True)


def test_it_has_the_runs_folder_and_environment(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("")
    env = {"PLAIN": "a 'b' $c", "SECRET": "${env:HIDDEN}"}
    (tmp_path / "j.yaml").write_text(json.dumps({"name": "j", "env": env, "run": {"script": "train.py"}}))
    assert launch(tmp_path, "run", "j.yaml", "--prepare").returncode == 0
    run = next((tmp_path / "runs").iterdir())
    says = 'echo "$PWD|$LAUNCHER_RUN_DIR|$PLAIN|$SECRET|$1"'
    done = launch(tmp_path, "shell", "last", "--", "sh", "-c", says, "sh", "x y")
    assert done.stdout == f"{tmp_path}|{run}|a 'b' $c||x y\n"
    refused = launch(tmp_path, "shell", "last", "--node", "4")
    assert (refused.returncode, "the run's nodes are 0 to 0" in refused.stderr) == (2, True)
    idle = launch(tmp_path, "stacks", "last")
    assert (idle.returncode, "is not running" in idle.stderr) == (2, True)
