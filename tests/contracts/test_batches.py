"""CONTRACTS.md, "Targets, batches and losses"."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.contracts.conftest import LAUNCH, Desk, Job, checkpoints, lines, rows, small, until, weights
from tests.patience import PATIENCE_S

EXACT = {"train__precision": "fp64", "train__model": {"target": "mine:Net", "width": 8, "dropout": 0.0}}


def train(desk: Desk, job: Job, *options: str) -> Path:
    outcome = desk.launch(desk.job(job), *options)
    assert outcome.code == 0, outcome.said
    return desk.runs()[-1]


def seen(desk: Desk) -> list[list[int]]:
    """The ids that the loss met, a list for each call, over all ranks."""
    return [json.loads(line) for file in sorted(desk.folder.glob("seen-*")) for line in file.read_text().splitlines()]


def test_over_ranks_and_accumulation_and_ragged_batches_it_is_the_mean_over_the_whole_batch(desk: Desk) -> None:
    """47 samples in batches of 10, micro-batches of 3, of each batch only the samples that the loss's weight counts."""
    val = {"target": "mine:Numbers", "samples": 25, "seed": 1}
    few = {"target": "mine:OnlyFew", "below": 23}
    job = small(**EXACT, train__loss=few, train__max_steps=10, train__data__train__samples=47, train__data__val=val)
    whole = train(desk, job)
    split = train(desk, job, "--set", "resources.procs_per_node=2", "--set", "train.data.micro_batch_size=3")
    assert rows(split) == [pytest.approx(row, rel=1e-9) for row in rows(whole)]
    assert any("val/loss" in row for row in rows(whole))
    one, other = (load_file(run / "checkpoints" / "step-00000010" / "model.safetensors") for run in (whole, split))
    assert all(abs(one[name] - other[name]).max() <= 1e-10 for name in one)


def test_each_sample_once(desk: Desk) -> None:
    """Two epochs of 25 samples in batches of 10 over two ranks."""
    train(
        desk, small(train__data__train__samples=25, resources__procs_per_node=2, train__max_steps=6, checkpoint__every="6 steps")
    )
    assert sorted(number for batch in seen(desk) for number in batch) == sorted([*range(25)] * 2)


def test_a_stream_that_is_continued_goes_on_where_it_was(desk: Desk) -> None:
    desk.write("slow", "")
    job = small(train__data__train={"target": "mine:Stream", "samples": 300}, train__max_steps=30, checkpoint__every="50%")
    process = desk.start(LAUNCH, desk.job(job))
    until(lambda: desk.runs() and len(rows(desk.run())) > 2)
    process.terminate()
    assert process.wait(PATIENCE_S) == 75, desk.screen()
    (desk.folder / "slow").unlink()
    outcome = desk.launch("resume", "last", "--set", "resources.procs_per_node=2")
    assert outcome.code == 0, outcome.said
    assert sorted(number for batch in seen(desk) for number in batch) == [*range(300)]


def test_drop_last_leaves_the_ragged_batch_out_and_without_shuffle_the_order_is_the_data_sets(desk: Desk) -> None:
    data = {"train": {"target": "mine:Numbers", "samples": 25}, "batch_size": 10, "drop_last": True, "shuffle": False}
    run = train(desk, small(train__data=data, train__max_steps=None, train__epochs=2, checkpoint__every="50%"))
    assert seen(desk) == [[*range(10)], [*range(10, 20)]] * 2
    assert rows(run)[-1]["step"] == 4
    assert saved(run) == [2, 4]


def test_an_item_may_be_a_pair_and_a_data_target_a_function(desk: Desk) -> None:
    run = train(desk, small(train__data__train={"target": "mine:pairs", "samples": 50}, train__loss="cross_entropy"))
    assert rows(run)[-1]["step"] == 12


def test_for_a_loss_a_class_is_constructed_and_a_function_is_bound(desk: Desk) -> None:
    one = train(desk, small(train__loss={"target": "mine:Scaled", "times": 2.0}, train__max_steps=3))
    other = train(desk, small(train__loss={"target": "mine:scaled_loss", "times": 2.0}, train__max_steps=3))
    assert rows(one) == rows(other)
    assert weights(one) == weights(other)


def test_optimizer_collate_schedule_and_metric_of_the_users_own(desk: Desk) -> None:
    desk.write("more.py", METRIC)
    job = small(
        train__optimizer={"target": "mine:optimizer", "rate": 0.5},
        train__schedule={"target": "mine:falling", "floor": 0.25},
        train__data__collate={"target": "mine:shifted", "by": 1.0},
        train__data__val={"target": "mine:Numbers", "samples": 20},
        train__metrics=[{"target": "more:Share", "of": 0}, {"target": "more:part", "of": 1}],
        train__max_steps=8,
    )
    told = rows(train(desk, job))
    factors = [row["lr"] / 0.5 for row in told]
    assert factors in ([pytest.approx([max(0.25, 1 - (step - by) / 8) for step in range(1, 9)]) for by in (0, 1)])
    share, part = (value for key, value in told[-1].items() if key.startswith("val/") and key != "val/loss")
    assert share + part == pytest.approx(1)


METRIC = """
import torch
from torchmetrics import Metric


class Share(Metric):
    def __init__(self, of):
        super().__init__()
        self.of = of
        self.add_state("hits", default=torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("all", default=torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, output, target):
        self.hits += (output.argmax(1) == self.of).sum()
        self.all += len(output)

    def compute(self):
        return self.hits / self.all


def part(output, target, of):
    return (output.argmax(1) == of).float().mean()
"""


def test_groups_of_parameters_have_their_own_rate_and_a_warm_up_scales_them_all(desk: Desk) -> None:
    run = train(
        desk,
        small(
            train__optimizer={"target": "sgd", "lr": 0.1, "groups": [{"match": "body.*", "lr": 1e-30}]},
            train__schedule={"target": "constant", "warmup": "50%"},
            checkpoint={"every": "1 steps", "keep_last": 9},
            train__max_steps=4,
        ),
    )
    first, last = (load_file(run / "checkpoints" / f"step-0000000{step}" / "model.safetensors") for step in (1, 4))
    assert [name for name in first if (first[name] == last[name]).all()] == ["body.bias", "body.weight"]
    rates = [row["lr"] for row in rows(run)]
    assert [rate / rates[-1] for rate in rates] == pytest.approx([0.5, 1, 1, 1])


def steps(run: Path) -> list[int]:
    return [row["step"] for row in rows(run)]


def saved(run: Path) -> list[int]:
    return [int(name.removeprefix("step-")) for name in checkpoints(run)]


def test_checkpoint_every_so_much_time(desk: Desk) -> None:
    """Eight steps of half a second."""
    desk.write("slow", "")
    run = train(desk, small(checkpoint={"every": "1s", "keep_last": 9}, train__max_steps=8))
    when = {each["event"]: datetime.fromisoformat(each["time"]) for each in lines(run / "events.jsonl")}
    assert saved(run)[-1] == 8
    assert 1 < len(saved(run)) <= 2 + (when["trained"] - when["running"]).total_seconds()


def test_keep_last_keeps_so_many(desk: Desk) -> None:
    run = train(desk, small(checkpoint={"every": "2 steps", "keep_last": 3}, train__max_steps=11))
    assert checkpoints(run) == ["step-00000008", "step-00000010", "step-00000011"]


def test_log_every_and_evaluate_every_and_limit_batches_and_epochs(desk: Desk) -> None:
    """Five batches an epoch, of which three are taken."""
    val = {"target": "mine:Numbers", "samples": 40}
    job = small(
        train__max_steps=None,
        train__epochs=4,
        train__limit_batches=3,
        train__data__val=val,
        train__evaluate_every="2 epochs",
        log__every="25%",
        checkpoint={"every": "1 epoch", "keep_last": 20},
    )
    run = train(desk, job)
    assert steps(run) == [3, 6, 9, 12]
    assert saved(run) == [3, 6, 9, 12]
    assert [row["step"] for row in rows(run) if "val/loss" in row] == [6, 12]
    assert rows(run)[-1]["epoch"] == pytest.approx(4)


def test_clipping_and_weightless_steps(desk: Desk) -> None:
    """With gradients clipped to nothing, the weights stay where they were."""
    run = train(
        desk,
        small(
            train__clip_grad_value=1e-30,
            train__optimizer={"target": "sgd", "lr": 1e-3},
            checkpoint={"every": "1 steps", "keep_last": 9},
            train__max_steps=3,
        ),
    )
    first, last = (load_file(run / "checkpoints" / f"step-0000000{step}" / "model.safetensors") for step in (1, 3))
    assert all((first[name] == last[name]).all() for name in first)
