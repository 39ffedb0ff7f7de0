"""Law 3 over the vocabulary: whatever a job puts together, killed at any step and resumed it ends with the same bits."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from launcher import rank
from launcher.rundir import RunDir
from launcher.worker.job import read_job
from launcher.worker.train import train
from launcher.worker.world import joined
from tests.worker.test_resume import outcome
from tests.worker.worlds import a_job, on_ranks, run_of

Drawn = st.SearchStrategy[Any]

STEPS, PER_EPOCH, SAVED_EVERY = 12, 4, 3
FLAT: dict[str, Any] = {"target": "digits", "flatten": True, "classes": [0, 1, 2]}
IMAGES: dict[str, Any] = {"target": "digits", "classes": [0, 1, 2]}


def maybe(strategy: Drawn) -> Drawn:
    return st.none() | strategy


def target(name: str, **arguments: Drawn) -> Drawn:
    return st.fixed_dictionaries({"target": st.just(name), **arguments})


def choice(*values: Any) -> Drawn:
    return st.sampled_from(values)


MLP = target("mlp", in_features=st.just(64), hidden=choice([16], [16, 8]), out_features=st.just(3),
             activation=choice("relu", "gelu", "tanh"), dropout=choice(0.0, 0.3), batch_norm=st.booleans())  # fmt: skip
CNN = target("cnn", in_channels=st.just(1), channels=st.just([4]), num_classes=st.just(3), dropout=choice(0.0, 0.2))
RNN = st.sampled_from(["rnn", "lstm", "gru"]).flatmap(
    lambda name: target(name, input_size=st.just(8), hidden_size=st.just(8), out_features=st.just(3), num_layers=choice(1, 2),
                        bidirectional=st.booleans(), dropout=choice(0.0, 0.3)))  # fmt: skip
SEQUENTIAL = target("sequential", layers=st.just([
    {"target": "Conv2d", "out_channels": 4, "kernel_size": 3}, "BatchNorm2d", "SiLU", {"target": "Dropout2d", "p": 0.2},
    "Flatten",
    {"target": "Linear", "out_features": 3},
]))  # fmt: skip

LOSS = st.one_of(
    target("cross_entropy", label_smoothing=choice(0.0, 0.1), weight=choice("auto", None)),
    target("focal", gamma=choice(1.0, 2.0)),
)
OPTIMIZER = st.one_of(
    target("sgd", lr=st.just(0.05), momentum=choice(0.0, 0.9), nesterov=st.just(False), decay=choice("all", "matrices")),
    *(target(name, lr=st.just(0.003)) for name in ("adam", "adamw", "nadam", "rmsprop", "adagrad", "adadelta")),
)
SCHEDULE = st.one_of(
    target("cosine", warmup=choice("2 steps", "10%")), target("step", step_size=choice("1 epoch", "5 steps")),
    target("one_cycle", cycle_momentum=st.just(False)),
    target("exponential", gamma=st.just(0.9)), target("polynomial", power=st.just(2.0)),
    target("plateau", patience=st.just(0), factor=st.just(0.5)), target("cosine_restarts", T_0=st.just("3 steps")),
)  # fmt: skip
EXTRAS: dict[str, Drawn] = {
    "ema": st.fixed_dictionaries({"decay": choice(0.5, 0.9), "evaluate": st.booleans()}),
    "early_stopping": st.fixed_dictionaries({"monitor": st.just("val/loss"), "patience": choice(1, 2),
                                            "mode": choice("min", "max")}),
    "clip_grad_norm": choice(0.5, 5.0), "clip_grad_value": st.just(0.1), "precision": choice("fp32", "bf16", "fp64"),
    "channels_last": st.just(True), "activation_checkpointing": st.just(True), "deterministic": st.just(True),
    "init": choice("orthogonal", {"*.weight": "xavier_uniform"}), "evaluate_every": choice("3 steps", "1 epoch"),
}  # fmt: skip
DATA: dict[str, Drawn] = {
    "sampling": choice("weighted", "balanced", "oversample", "undersample"),
    "micro_batch_size": st.just(20), "drop_last": st.booleans(), "shuffle": st.booleans(), "num_workers": st.just(1),
}  # fmt: skip


def present(mapping: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if value is not None}


@st.composite
def trainings(draw: st.DrawFn) -> dict[str, Any]:
    """What `train` says, and little of it: each field that need not be there is left out half the time."""
    model, images = draw(
        st.tuples(MLP, st.just(False)) | st.tuples(CNN | SEQUENTIAL, st.just(True)) | st.tuples(RNN, st.just("rows"))
    )
    digits = FLAT if not images else IMAGES
    data = {"train": digits, "val": digits | {"split": "val"}, "batch_size": 120} | present(
        {key: draw(maybe(strategy)) for key, strategy in DATA.items()}
    )
    if "sampling" in data:
        data.pop("shuffle", None)  # refused: it draws in an order of its own
    if images == "rows":
        model = {"target": "tests.worker.sets:Rows", "of": model}
    if images is True:
        data["augment"] = draw(choice([], [{"target": "random_crop", "size": 8, "padding": 1}]))
    extras = present({key: draw(maybe(strategy)) for key, strategy in EXTRAS.items()})
    schedule = draw(maybe(SCHEDULE))
    return {"model": model, "loss": present(draw(LOSS)), "optimizer": draw(OPTIMIZER), "data": data, "metrics": ["accuracy"],
            "max_steps": STEPS, **extras, **({"schedule": schedule} if schedule else {})}  # fmt: skip


def undisturbed_then_killed(undisturbed: RunDir, killed: RunDir, at: int) -> None:
    """On a rank: the second training does not outlive the step."""
    with joined(read_job(undisturbed)) as world:
        assert train(undisturbed, read_job(undisturbed), world) == 0
        pulse = rank.pulse

        def pulse_and_die(step: int | None = None) -> None:
            pulse(step)
            if step == at:
                os.kill(os.getpid(), signal.SIGKILL)

        rank.pulse = pulse_and_die
        train(killed, read_job(killed), world)


def resumed(run: RunDir) -> int:
    with joined(read_job(run)) as world:
        return train(run, read_job(run), world)


def failures(ranks: int, *what: Any) -> str:
    """In words; none where early stopping came before the kill."""
    try:
        on_ranks(ranks, *what)
    except AssertionError as error:
        return str(error)
    return ""


def ends_the_same(train: dict[str, Any], ranks: int, at: int) -> None:
    job = a_job(**train) | {"checkpoint": {"every": f"{SAVED_EVERY} steps"}, "log": {"every": "2 steps", "plots": False}}
    with tempfile.TemporaryDirectory() as folder:
        undisturbed, killed = (run_of(Path(folder, name), job) for name in ("undisturbed", "killed"))
        told = failures(ranks, undisturbed_then_killed, undisturbed, killed, at)
        assert not told or "without an outcome" in told, told
        assert on_ranks(ranks, resumed, killed) == [0] * ranks
        assert outcome(killed) == outcome(undisturbed)


CASES = {"train": trainings(), "ranks": st.sampled_from([1, 2]), "at": st.integers(1, STEPS - 1)}
QUIET = settings(deadline=None, suppress_health_check=list(HealthCheck), phases=(Phase.explicit, Phase.generate), database=None)


@settings(QUIET, max_examples=2, derandomize=True)
@given(**CASES)
def test_killed_at_any_step_it_ends_with_the_same_bits(train: dict[str, Any], ranks: int, at: int) -> None:
    ends_the_same(train, ranks, at)


@pytest.mark.long
@pytest.mark.timeout(3000)
@settings(QUIET, max_examples=50, print_blob=True)
@given(**CASES)
def test_fifty_combinations(train: dict[str, Any], ranks: int, at: int) -> None:
    ends_the_same(train, ranks, at)
