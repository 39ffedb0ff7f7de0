from __future__ import annotations

import math
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from launcher.load import differences, dump_job, load_job, parse_job
from launcher.load.compose import compose
from launcher.load.dump import block, scalar
from launcher.load.nodes import Source
from launcher.spec import Job

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=20)
LOOKS_LIKE_ANOTHER = ["1", "1e3", "0.10", "0x1F", "no", "Yes", "on", "null", "~", "", "true", "08:00:00", "24:00:00", "1_000",
                      ".inf", "a: b", "a #b", "- a", "[a", "{a",
                      "*a", "&a", "!a", "%a", "@a", "`a", "'a", '"a', " a", "a ", "a\nb",
                      "---", "...", "2026-11-24", "=", "<<", "?", "a:", ":a",
                      "\u2028", "\x85", "\ufeff", "\x7f", "é😀"]  # fmt: skip


@pytest.mark.parametrize("text", LOOKS_LIKE_ANOTHER)
def test_text_stays_text(text: str) -> None:
    run, log = {"script": "x", "args": [text]}, {"wandb": {"project": text}}
    job = Job.model_validate({"name": "a", "workdir": text or "/", "env": {"A": text}, "run": run, "log": log})
    assert parse_job(dump_job(job)).env == {"A": text}
    assert yaml.safe_load(f"a: {scalar(text)}") == {"a": text}


@given(st.dictionaries(TEXT, VALUES, min_size=1))
def test_what_is_written_is_read_back(value: dict[str, Any]) -> None:
    node, problems = compose(Source("x", "".join(f"{line}\n" for line in block(value))))
    assert node is not None
    assert (node.plain(("x",)), problems) == (value, [])


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=0), st.integers(min_value=0, max_value=2**63 - 1))
def test_numbers_come_back_to_the_last_bit(rate: float, seed: int) -> None:
    job = parse_job(f"seed: {seed}\nrun: {{script: a}}\n")
    assert parse_job(dump_job(job)) == job
    [node] = [compose(Source("x", f"a: {scalar(rate)}"))[0]]
    assert node is not None
    assert math.copysign(1, node.plain()["a"]) == math.copysign(1, rate)
    assert node.plain()["a"] == rate


@given(
    st.lists(TEXT),
    st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,9}", fullmatch=True), TEXT.filter(lambda text: "${" not in text)),
)
def test_argv_and_environment_come_back_byte_for_byte(args: list[str], env: dict[str, str]) -> None:
    job = Job(name="a", workdir="/", env=env, run={"script": "x", "args": [arg for arg in args if "${" not in arg]})  # type: ignore[arg-type]  # as a file gives it
    assert parse_job(dump_job(job)) == job


def test_a_job_comes_back_whole(train: str) -> None:
    job = parse_job(train, overrides=[
        "train.schedule={target: step, step_size: 1 epochs, warmup: 5%}",
        "train.optimizer={target: adam, groups: [{match: 'head.*', lr: 1e-5}]}",
        "checkpoint={every: 90s, keep_best: val/loss}", "log.wandb=true", "resources.time=08:00:00", "train.clip_grad_norm=1",
        "train.data.augment=[{target: random_crop, size: [28, 28]}, random_horizontal_flip]",
    ])  # fmt: skip
    assert parse_job(dump_job(job)) == job
    assert differences(parse_job(dump_job(job)), job) == []
    assert dump_job(parse_job(dump_job(job))) == dump_job(job)


def test_the_name_comes_first_and_empty_defaults_are_left_out() -> None:
    text = dump_job(parse_job("seed: 1\nrun: {script: a}\nname: b", workdir="/w"))
    assert text.startswith("name: b\nseed: 1\nworkdir: /w\nenvironment:\n  runtime: pyxis\nresources:\n  backend: auto\n")
    assert "null" not in text
    assert "[]" not in text


def test_every_default_is_written(train: str) -> None:
    text = dump_job(parse_job(train))
    for line in ("momentum: 0.0", "keep_last: 2", "timeout: 10m", "lost_after: 8s", "activation: relu", "micro_batch_size: auto"):
        assert line in text


def test_null_for_ones_own_target_is_kept(train: str) -> None:
    job = parse_job(train.replace("loss: cross_entropy", "loss: {target: my.mod:loss, weight: null}"))
    assert parse_job(dump_job(job)) == job


def test_lines_are_readable(train: str) -> None:
    assert max(map(len, dump_job(parse_job(train)).splitlines())) <= 100


def test_differences_are_told_by_path(train: str) -> None:
    old, new = (
        parse_job(train, workdir="/"),
        parse_job(train, workdir="/", overrides=["train.epochs=3", "env.A=1", "train.loss=mse"]),
    )
    assert differences(old, new) == [
        ("train.loss.target", "cross_entropy", "mse"), ("train.loss.label_smoothing", 0.0, None),
        ("train.loss.ignore_index", -100, None), ("train.epochs", 2, 3), ("env.A", None, "1"),
    ]  # fmt: skip


def test_the_main_job_is_the_same_after_writing() -> None:
    from pathlib import Path

    job = load_job(Path(__file__).parents[2] / "jobs" / "resnet.yaml")
    assert parse_job(dump_job(job)) == job
