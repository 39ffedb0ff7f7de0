"""What a person sees while a run goes on."""

from __future__ import annotations

import io
import math
import os
from pathlib import Path
from typing import Any

import pytest

from launcher.cli import screen as screens
from launcher.cli.fold import Fold, named
from launcher.cli.reading_logs import screen_of
from launcher.cli.screen import Screen, Writer
from launcher.cli.tail import BEHIND_BYTES, Tail
from launcher.cli.terminal import cut, duration, size
from launcher.events import record
from launcher.rundir import RunDir


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Shut(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path)


def log(run: RunDir, rank: int, text: str, attempt: int = 1) -> None:
    path = run.rank_log(attempt, rank)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(text)


def begin(run: RunDir, attempt: int) -> None:
    record(run, "attempt", attempt=attempt)


@pytest.mark.parametrize(
    ("ranks", "text"), [([3], "rank 3"), ([0, 1, 2], "ranks 0-2"), ([5, 0, 2, 1], "ranks 0-2,5"), ([0, 2], "ranks 0,2")]
)
def test_ranks_are_named_in_spans(ranks: list[int], text: str) -> None:
    assert named(ranks) == text


def test_equal_lines_of_many_ranks_fold_and_orders_stay() -> None:
    fold = Fold(3)
    for rank, lines in {0: "abb", 1: "ab", 2: "ba"}.items():
        for line in lines:
            fold.add(rank, line, 0.0)
    shown = list(fold.rest())
    assert shown[0] == "ranks 0-1 | a"
    for rank, lines in {0: "abb", 1: "ab", 2: "ba"}.items():
        assert "".join(text for names, text in (line.split(" | ") for line in shown) if rank in ranks_of(names)) == lines


def ranks_of(names: str) -> set[int]:
    spans = [span.split("-") for span in names.split(" ")[1].split(",")]
    return {rank for span in spans for rank in range(int(span[0]), int(span[-1]) + 1)}


def test_a_line_waits_a_moment_for_the_others() -> None:
    fold = Fold(2)
    fold.add(0, "late", 0.0)
    assert list(fold.due(0.1)) == []
    fold.add(1, "late", 0.2)
    assert list(fold.due(0.2)) == ["ranks 0-1 | late"]
    fold.add(0, "alone", 1.0)
    assert list(fold.due(2.0)) == ["rank 0 | alone"]


def test_a_tail_gives_whole_lines_and_the_rest_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "log"
    tail = Tail(path)
    assert tail.lines() == []
    path.write_bytes(b"one\ntw")
    assert tail.lines() == ["one"]
    path.write_bytes(b"one\ntwo\nthree \xff")
    assert tail.lines() == ["two"]
    assert tail.rest() == ["three \ufffd"]


def test_a_rewritten_line_shows_its_last_state(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"\r10%\r20%")
    tail = Tail(path)
    assert (tail.lines(), tail.live) == ([], "20%")
    path.write_bytes(b"\r10%\r20%\r100%\r\n")
    assert (tail.lines(), tail.live) == (["100%"], None)


def test_a_huge_backlog_is_skipped_and_said_so(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as file:
        file.truncate(40 * BEHIND_BYTES)
        file.seek(0, os.SEEK_END)
        file.write(b"\nlast\n")
    lines = Tail(path).lines()
    assert "MB are not shown here" in lines[0]
    assert lines[-1] == "last"


@pytest.mark.parametrize("width", [80, 200])
def test_progress_is_one_line_that_fits(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setattr(screens, "columns", lambda: width)
    out = Terminal()
    writer = Writer(out)
    writer.progress("step 1/9  " + "x" * 300)
    writer.progress("step 2/9")
    writer.line("warning")
    writer.close()
    first, second, warning = out.getvalue().split("\r\x1b[K")[1:]
    assert (len(first), first[-1]) == (width - 1, "…")
    assert (second, warning.split("\n")[0]) == ("step 2/9", "warning")
    assert warning.endswith("\nstep 2/9\n")
    assert "\x1b[3" not in out.getvalue()


def test_letters_of_double_width_count_twice() -> None:
    assert cut("日本語", 6) == "日本語"
    assert cut("日本語", 5) == "日本…"
    assert cut("a\x1b[2Jb", 10) == "a[2Jb"


def test_without_a_terminal_progress_is_sparse_and_plain(run: RunDir) -> None:
    out = io.StringIO()
    screen = Screen(run, [0], out)
    begin(run, 1)
    log(run, 0, "".join(f"step {step}/900  epoch 1.0/9  train/loss 1\n" for step in range(900)))
    log(run, 0, "step 900/900  epoch 9.0/9  val/loss 0.1\nother\n")
    screen()
    screen.close()
    assert out.getvalue().splitlines() == [
        "step 0/900  epoch 1.0/9  train/loss 1", "step 900/900  epoch 9.0/9  val/loss 0.1", "other",
    ]  # fmt: skip


def test_evaluations_stay_on_a_terminal(run: RunDir) -> None:
    out = Terminal()
    screen = Screen(run, [0], out)
    begin(run, 1)
    log(run, 0, "step 1/2  epoch 0.5/1  train/loss 1\nstep 2/2  epoch 1.0/1  val/loss 0.5\nlater\n")
    screen()
    screen.close()
    assert out.getvalue() == "\r\x1b[Kstep 1/2  epoch 0.5/1  train/loss 1\r\x1b[Kstep 2/2  epoch 1.0/1  val/loss 0.5\nlater\n"


def test_a_scripts_own_steps_are_all_shown(run: RunDir) -> None:
    out = io.StringIO()
    screen = Screen(run, [0], out)
    begin(run, 1)
    text = "".join(f"step {step}/9 loss 0.1\n" for step in range(9))
    log(run, 0, text)
    screen()
    screen.close()
    assert out.getvalue() == text


def test_a_progress_bar_makes_way_for_what_it_became(run: RunDir) -> None:
    out = Terminal()
    screen = Screen(run, [0], out)
    begin(run, 1)
    log(run, 0, "\rbar 50%\rbar 88%")
    screen()
    log(run, 0, "\rbar 100%\nloss 0.1\n")
    screen()
    screen.close()
    assert out.getvalue() == "\r\x1b[Kbar 88%\r\x1b[Kbar 100%\nloss 0.1\n"


def test_one_rank_has_no_prefix_and_several_have(run: RunDir) -> None:
    alone, both = io.StringIO(), io.StringIO()
    watching = [Screen(run, [0], alone), Screen(run, [0, 1], both)]
    begin(run, 1)
    log(run, 0, "same\nmine\n")
    log(run, 1, "same\n")
    for screen in watching:
        screen()
        screen.close()
    assert alone.getvalue() == "same\nmine\n"
    assert both.getvalue() == "ranks 0-1 | same\nrank 0 | mine\n"


def test_a_restart_is_told_once_with_its_reason_and_the_new_log_is_followed(run: RunDir) -> None:
    out = io.StringIO()
    screen = Screen(run, [0], out)
    begin(run, 1)
    log(run, 0, "first\nunfinished")
    screen()
    record(run, "failure", attempt=1, reason="rank 0 was killed by SIGKILL. restart 1 of 3")
    begin(run, 2)
    log(run, 0, "second\n", attempt=2)
    screen()
    screen.close()
    assert out.getvalue().splitlines() == [
        "first", "unfinished", "[launch] attempt 1 failed: rank 0 was killed by SIGKILL. restart 1 of 3", "second",
    ]  # fmt: skip


def test_a_last_failure_is_left_to_the_block_at_the_end(run: RunDir) -> None:
    out = io.StringIO()
    screen = Screen(run, [0], out)
    record(run, "failure", attempt=1, reason="boom")
    record(run, "failed", attempt=1, reason="boom")
    screen()
    screen.close()
    assert out.getvalue() == ""


def test_stopping_says_what_a_second_time_does(run: RunDir) -> None:
    out = io.StringIO()
    screen = Screen(run, [0], out)
    record(run, "stopping", attempt=1, reason="SIGINT received: saving at the next step boundary")
    screen()
    assert "once more ends it at once" in out.getvalue()


def test_a_reader_that_leaves_does_not_end_the_run(run: RunDir) -> None:
    screen = Screen(run, [0], Shut())
    begin(run, 1)
    log(run, 0, "nobody reads this\n")
    screen()
    screen.close()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3.21, "3.2 s"), (42.4, "42 s"), (59.9, "1 min 00 s"), (75, "1 min 15 s"), (3700, "1 h 01 min"), (90000, "1 d 1 h")],
)
def test_durations_in_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (45_000_000, "45.0 MB"), (3e12, "3.0 TB")]
)
def test_sizes_in_words(count: float, text: str) -> None:
    assert size(count) == text


def test_two_ranks_progress_bars_do_not_flood_a_file(run: RunDir) -> None:
    out: Any = io.StringIO()
    screen = Screen(run, [0], out)
    begin(run, 1)
    log(run, 0, "".join(f"\r{percent}%" for percent in range(100)))
    screen()
    log(run, 0, "\r100%\n")
    screen()
    screen.close()
    assert out.getvalue() == "100%\n"


def test_an_attempt_that_begins_as_one_begins_to_follow_is_shown_once(run: RunDir) -> None:
    out = io.StringIO()

    def ranks() -> list[int]:
        log(run, 0, "begun\n")
        begin(run, 1)
        return [0]

    screen = screen_of(run, ranks, out)
    screen()
    assert out.getvalue() == "begun\n"
    begin(run, 1)  # told late: its folder was there before
    screen()
    screen.close()
    assert out.getvalue() == "begun\n"


@pytest.mark.parametrize(("blamed", "shown"), [(1, False), (0, True)])
def test_a_traceback_that_only_echoes_another_rank_stays_in_the_log(
    run: RunDir, blamed: int, shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(screens, "HOLD_TRACEBACK_S", math.inf)
    out = io.StringIO()
    screen = Screen(run, [0], out)
    screen.follow(1)
    log(run, 0, "working\n[rank0]: Traceback (most recent call last):\n[rank0]: RuntimeError: Connection closed by peer\n")
    screen()
    assert out.getvalue() == "working\n"
    record(run, "failure", attempt=1, rank=blamed, reason="why")
    screen()
    screen.close()
    assert ("Connection closed" in out.getvalue()) is shown


def test_a_traceback_that_ends_nothing_is_shown_after_a_moment(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    screen = Screen(run, [0], out)
    screen.follow(1)
    log(run, 0, "Traceback (most recent call last):\nValueError: caught and printed\ngoing on\n")
    screen()
    monkeypatch.setattr(screens, "HOLD_TRACEBACK_S", 0.0)
    screen()
    assert out.getvalue().endswith("ValueError: caught and printed\ngoing on\n")
