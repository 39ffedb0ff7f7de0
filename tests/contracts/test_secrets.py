"""DESIGN.md's eighth law, from outside: nothing leaks, nothing injects."""

from __future__ import annotations

import json

import pytest
from safetensors import safe_open

from tests.contracts.conftest import Case, Desk, checkpoints, complete_views, script_job, small

SECRET = "hush-hush-0123456789-0123456789-abcdefgh"


def test_a_secret_of_the_environment_is_in_no_file_of_a_run_with_every_view(desk: Desk) -> None:
    env = {"MY_TOKEN": "${env:SECRET}", "OWN_PASSWORD": "${env:SECRET}"}
    job = small(env=env, train__max_steps=3, log__wandb=True, log__csv=True)
    known = {"SECRET": SECRET, "WANDB_API_KEY": SECRET}
    outcome = desk.launch(desk.job(job), env=known)
    assert outcome.code == 0, outcome.said
    complete_views(desk, desk.run(), **known)
    assert list((desk.run() / "wandb").glob("**/*.wandb"))
    holders = [each for each in desk.run().rglob("*") if each.is_file() and SECRET.encode() in each.read_bytes()]
    assert holders == []
    assert "as it stands" not in outcome.said


@pytest.mark.parametrize("option", ["--dry-run", "--prepare", "--detach"])
def test_a_secret_that_is_written_out_is_warned_of(desk: Desk, option: str) -> None:
    env = {"SOME_API_KEY": "abc", "TOKENIZERS_PARALLELISM": "false", "EMPTY_TOKEN": ""}
    outcome = desk.launch(desk.job(script_job(env=env, run={"program": ["true"]})), option)
    assert "SOME_API_KEY: ${env:SOME_API_KEY}" in outcome.said
    assert "env.TOKENIZERS" not in outcome.said
    assert "env.EMPTY" not in outcome.said


def test_a_checkpoint_is_json_and_safetensors_alone(finished: Case) -> None:
    for folder in (finished.path / "checkpoints" / name for name in checkpoints(finished.path)):
        for file in folder.iterdir():
            if file.suffix == ".safetensors":
                with safe_open(file, framework="pt") as opened:
                    assert list(opened.keys())
            else:
                json.loads(file.read_text())


def test_no_text_of_the_user_reaches_a_shell_unquoted(desk: Desk) -> None:
    """The commands that --prepare prints, pasted elsewhere, of a script in a folder whose name is a command."""
    folder = "it's; touch pwned $(touch pwned) `touch pwned`"
    desk.write(f"{folder}/beside.py", "WORD = 'from workdir'\n")
    desk.write(
        f"{folder}/inner/own.py", "import beside, os, sys\nprint(beside.WORD, sys.argv[1], os.environ['TEXT'], flush=True)\n"
    )
    nasty = '"$(touch pwned)" \'; touch pwned; #'
    job = desk.job(script_job(run={"script": "inner/own.py", "args": [nasty]}, env={"TEXT": nasty}))
    outcome = desk.launch(job, "--prepare", cwd=desk.folder / folder)
    commands = [line.strip() for line in outcome.out.splitlines() if line.startswith("  ")]
    assert len(commands) == 3
    elsewhere = desk.folder / "elsewhere"
    elsewhere.mkdir()
    for command in commands[1:]:
        told = desk.call("/bin/sh", "-c", command, cwd=elsewhere)
        assert told.code == 0, told.said
    (run,) = (desk.folder / folder / "runs").iterdir()
    for said in (told.out, (run / "logs" / "attempt-1" / "rank-0.log").read_text()):
        assert f"from workdir {nasty} {nasty}" in said
    assert not list(desk.folder.glob("**/pwned"))
