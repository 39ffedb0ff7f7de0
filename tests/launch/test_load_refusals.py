"""Input that is no job at all: a sentence with a place, in bounded time and memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.errors import Problem, SpecError
from launcher.load import load_job

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)

REFUSED: dict[str, tuple[str | bytes, str, str]] = {
    "duplicate key": ("seed: 1\nseed: 2\n", "job.yaml:2:1", "key 'seed' is given twice (first in line 1)"),
    "duplicate key below": ("run:\n  script: a\n  script: b\n", "job.yaml:3:3", "key 'script' is given twice"),
    "tag": ("seed: !!int 3\n", "job.yaml:1:7", "tags are not read (got 'tag:yaml.org,2002:int')"),
    "python tag": ("seed: !!python/object/apply:os.system [ls]\n", "job.yaml:1:7", "tags are not read"),
    "merge key": ("a: &a {b: 1}\nrun:\n  <<: *a\n", "job.yaml:3:3", "use 'extends:'"),
    "exploding aliases": (LAUGHS, "job.yaml:5:", "more than 20,000 values"),
    "alias in itself": ("a: &a [*a]\n", "job.yaml:1:8", "stands inside the value that it names"),
    "alias of nothing": ("a: *b\n", "job.yaml:1:4", "alias"),
    "NUL byte": (b"seed: 1\nname: a\0b\n", "job.yaml:2:8", "a NUL byte cannot stand in a job"),
    "escaped NUL": ('run: {args: ["a\\0b"]}\n', "job.yaml:1:14", "a NUL byte cannot stand in a job"),
    "control character": (b"seed: 1\nname: a\x1bb\n", "job.yaml:2:8", "U+001B"),
    "UTF-16": ("seed: 1\n".encode("utf-16"), "job.yaml:1:1", "save it as UTF-8"),
    "UTF-16 without mark": ("seed: 1\n".encode("utf-16-le"), "job.yaml:1:2", "a NUL byte"),
    "Latin-1": ("seed: 1\n# \u00e4\n".encode("latin-1"), "job.yaml:2:3", "byte 0xe4 is not UTF-8"),
    "50 MB": (b"#" * 50_000_000, "job.yaml:1:1", "larger than 1,000 kB"),
    "deep lists": ("a: " + "[" * 10_000, "job.yaml:1:", "nested deeper than 64 levels"),
    "deep mappings": ("{a: " * 10_000, "job.yaml:1:", "nested deeper than 64 levels"),
    "deep blocks": ("".join(" " * n + "a:\n" for n in range(1000)), "job.yaml:64:64", "nested deeper than 64 levels"),
    "deep keys": ("? " * 10_000, "job.yaml:1:", "nested deeper"),
    "deep dashes": ("- " * 10_000, "job.yaml:1:", "nested deeper"),
    "two documents": ("seed: 1\n---\nseed: 2\n", "job.yaml:2:1", "a job file holds one"),
    "a list": ("- seed\n", "job.yaml:1:1", "a job is a mapping"),
    "a word": ("seed\n", "job.yaml:1:1", "a job is a mapping"),
    "nothing": ("", "job.yaml:1:1", "the file is empty"),
    "comments alone": ("# seed: 1\n", "job.yaml:1:1", "the file is empty"),
    "null": ("---\n", "job.yaml:2:1", "a job is a mapping"),
    "number as key": ("1: x\n", "job.yaml:1:1", "a key must be text, got '1': quote it"),
    "switch as key": ("run: {script: a}\nenv: {true: x}\n", "job.yaml:2:7", "a key must be text, got 'true'"),
    "list as key": ("? [a]\n: x\n", "job.yaml:1:3", "a key must be text, got a list or mapping"),
    "open bracket": ("run: {script: a\nseed: 1\n", "job.yaml:2:", "this is not YAML"),
    "tab": ("run:\n\tscript: a\n", "job.yaml:2:1", "a tab stands here: YAML is indented with spaces"),
    "directive": ("%FOO\nseed: 1\n", "job.yaml:", "this is not YAML"),
    "long key": ("k" * 900_000 + ": 1\n", "job.yaml:1:", ""),
    "many values": ("run: {args: [" + "a," * 400_000 + "]}", "job.yaml:1:", "more than 20,000 values"),
    "many unknown keys": ("".join(f"k{n}: 1\n" for n in range(9_000)), "job.yaml:1:1", "and 8,9"),
    "many unknown targets": ("train: {metrics: [" + "accuracx, " * 9_000 + "]}", "job.yaml:1:", "no metric is called 'accuracx'"),
    "long import path": ("train: {model: " + "a." * 200_000 + "}", "job.yaml:1:16", "(400,000 characters)"),
    "long digits": ("seed: " + "9" * 500_000, "job.yaml:1:7", "expected an integer >= 0"),
    "long duration": ("run: {script: a}\nresources: {time: " + "1" * 500_000 + "}", "job.yaml:2:19", "expected a duration"),
}  # fmt: skip


@pytest.mark.timeout(20)
@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_a_sentence_with_its_place(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content, place, words = REFUSED[case]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.yaml").write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(SpecError) as refused:
        load_job("job.yaml")
    assert any(str(problem).startswith(place) for problem in refused.value.problems), str(refused.value)[:500]
    assert words in str(refused.value)
    assert len(str(refused.value)) < 100_000
    assert refused.value.exit_code == 2


def test_reading_goes_on_after_a_problem_that_allows_it(problems: Callable[..., list[Problem]]) -> None:
    found = problems("seed: 1\nseed: 2\nnaem: x\nrun: {script: !x a, <<: {}}\n")
    assert [problem.line for problem in found] == [2, 3, 4, 4]


def unreadable(folder: Path) -> Path:
    path = folder / "job.yaml"
    path.mkdir()
    return path


def a_pipe(folder: Path) -> Path:
    os.mkfifo(folder / "job.yaml")
    return folder / "job.yaml"


@pytest.mark.parametrize(("make", "words"), [
    (unreadable, "is a folder; a job is a YAML file"),
    (a_pipe, "is not a regular file"),
    (lambda folder: folder / "resnt.yaml", "there is no such file. Did you mean '{folder}/resnet.yaml'?"),
    (lambda folder: folder / "resnet", "there is no such file. Did you mean '{folder}/resnet.yaml'?"),
    (lambda folder: folder / "none" / "x.yaml", "there is no such file (nor the folder {folder}/none)"),
    (lambda folder: folder / "resnet.yaml" / "x", "cannot be read: Not a directory"),
    (lambda folder: folder / "a\0b", "cannot be read: "),
    (lambda folder: folder / ("n" * 300), "cannot be read: File name too long"),
])  # fmt: skip
def test_a_file_that_cannot_be_read(tmp_path: Path, make: Callable[[Path], Path], words: str) -> None:
    (tmp_path / "resnet.yaml").write_text("run: {script: a}")
    with pytest.raises(SpecError) as refused:
        load_job(make(tmp_path))
    assert words.format(folder=tmp_path) in str(refused.value)
