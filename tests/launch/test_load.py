from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.load import load_job, parse_job
from launcher.load.scalars import resolve

RUN = "run: {script: train.py}\n"
JOBS = sorted((Path(__file__).parents[2] / "jobs").glob("*.yaml"))


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.name)
def test_starter_jobs_load(path: Path) -> None:
    load_job(path)


@pytest.mark.parametrize(("text", "value"), [
    ("1e-3", 1e-3), ("5e-4", 5e-4), (".5", 0.5), ("1.", 1.0), ("-.inf", float("-inf")), ("+1", 1), ("0644", 644), ("0o17", 15),
    ("0x1F", 31), ("no", "no"), ("on", "on"), ("y", "y"), ("08:00:00", "08:00:00"), ("24:00:00", "24:00:00"), ("1_000", "1_000"),
    ("true", True), ("FALSE", False), ("tRue", "tRue"), ("~", None), ("", None), ("Null", None), ("2026-11-24", "2026-11-24"),
    ("1.2.3", "1.2.3"), ("-", "-"), ("e3", "e3"), ("0b1", "0b1"), ("9" * 5000, "9" * 5000),
])  # fmt: skip
def test_plain_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    assert resolve(text) == value
    assert type(resolve(text)) is type(value)


def test_not_a_number_is_a_number() -> None:
    assert str(resolve(".nan")) == "nan"


def test_argv_and_environment_are_taken_as_written() -> None:
    job = parse_job("""
run: {program: [./go, 007], args: [--lr, 0.10, yes, null, 1e3, "a b", ~, ""]}
env: {A: 0.10, B: no, C: , D: 'it''s', E: 0x10, F: true}
""")
    assert job.run is not None
    assert job.run.program == ["./go", "007"]
    assert job.run.args == ["--lr", "0.10", "yes", "null", "1e3", "a b", "~", ""]
    assert job.env == {"A": "0.10", "B": "no", "C": "", "D": "it's", "E": "0x10", "F": "true"}


@pytest.mark.parametrize(("file", "name"), [
    ("resnet.yaml", "resnet"), ("my job (2).yml", "my-job-2"), ("a.b.yaml", "a.b"), ("ümläut.yaml", "ml-ut"), ("---.yaml", "job"),
    ("x" * 80 + ".yaml", "x" * 64),
])  # fmt: skip
def test_name_is_the_stem_of_the_file(tmp_path: Path, file: str, name: str) -> None:
    (tmp_path / file).write_text(RUN)
    assert load_job(tmp_path / file).name == name


def test_workdir_is_where_launch_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_job(RUN).workdir == str(tmp_path)
    assert parse_job(RUN, workdir="/elsewhere").workdir == "/elsewhere"


@pytest.mark.parametrize(("given", "kept"), [("sub", "/caller/sub"), ("../x", "/x"), ("/abs/./y", "/abs/y")])
def test_workdir_is_stored_absolute(given: str, kept: str) -> None:
    assert parse_job(f"workdir: {given}\n{RUN}", workdir="/caller").workdir == kept


def test_an_empty_section_is_all_defaults() -> None:
    assert parse_job(f"{RUN}resources:\nlog:\nenv:\nretry:\ncheckpoint:\n", workdir="/") == parse_job(RUN, workdir="/")


def test_built_in_targets_come_with_their_default_arguments(train: str) -> None:
    job = parse_job(train)
    assert job.train is not None
    assert job.train.optimizer.arguments == {
        "lr": 0.1, "momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False,
        "maximize": False,
    }  # fmt: skip


def test_arguments_of_ones_own_target_are_left_alone(train: str) -> None:
    job = parse_job(train.replace("cross_entropy", "{target: my_pkg.losses:Focal, gamma: 2, alpha: null}"))
    assert job.train is not None
    assert job.train.loss.arguments == {"gamma": 2, "alpha": None}


def test_a_byte_order_mark_and_windows_line_ends_are_fine(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_bytes(b"\xef\xbb\xbfseed: 3\r\nrun:\r\n  script: a.py\r\n")
    assert load_job(tmp_path / "job.yaml").seed == 3


def test_anchors_may_repeat_a_value() -> None:
    job = parse_job("run: {program: &argv [a, b], args: *argv}")
    assert job.run is not None
    assert job.run.args == ["a", "b"]


def test_no_plugin_of_pydantic_is_asked(tmp_path: Path) -> None:
    plugin = tmp_path / "plugin-1.0.dist-info"
    plugin.mkdir()
    (plugin / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
    (plugin / "entry_points.txt").write_text("[pydantic]\nplugin = loud:plugin\n")
    (tmp_path / "loud.py").write_text("print('imported')\nplugin = None\n")
    loading = f"import os, launcher.load as l; before = {{**os.environ}}; l.parse_job({RUN!r}); print(before == os.environ)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    said = subprocess.run([sys.executable, "-c", loading], capture_output=True, text=True, check=True, env=environment)
    assert said.stdout == "True\n"
