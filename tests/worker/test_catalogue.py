"""Every built-in target is built as a job names it, and takes one step.

The networks of torchvision are built and run on torch's meta device, without a number in them: fast, and wrong shapes still show.
One of each family here, all of them under `long`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch.overrides import TorchFunctionMode
from torchvision.models import get_model_builder

from launcher.load import dump_job, parse_job
from launcher.rundir import RunDir
from launcher.spec import Job
from launcher.spec.catalogue import CATALOGUE, Entry
from launcher.spec.catalogue.torchvision_networks import FAMILIES
from launcher.spec.docs import explain
from launcher.spec.target import Target
from launcher.worker.build import Training, build
from launcher.worker.errors import WorkerError
from launcher.worker.evaluate import evaluate
from launcher.worker.job import read_job
from launcher.worker.models.sequential import layer as make_layer
from launcher.worker.state import TrainState
from launcher.worker.step import take_step
from launcher.worker.targets import built
from launcher.worker.world import joined
from tests.launch.test_explain import PLACES
from tests.worker.worlds import MANY_MAY_TAKE_S, on_ranks

Given = dict[str, Any]

CLASSES = {"target": "tests.worker.sets:classes", "samples": 8}
NUMBERS = {"target": "tests.worker.sets:numbers", "samples": 8}
RARE = {"target": "tests.worker.sets:rare", "samples": 80}
IMAGES = {"target": "fake_data", "samples": 8, "shape": [3, 8, 8], "num_classes": 5}
PICTURES = {"target": "tests.worker.sets:pictures", "samples": 8, "classes": 5, "side": 32}
"""Pixels from 0 to 1, as colours want them."""
MLP = {"target": "mlp", "in_features": 6, "hidden": [4], "out_features": 5}
CNN = {"target": "cnn", "in_channels": 3, "channels": [4], "num_classes": 5}
STEPS = 3

JOB: Given = {
    "name": "walk", "seed": 1, "resources": {"device": "cpu", "threads": 1}, "log": {"plots": False},
    "train": {"model": MLP, "loss": "cross_entropy", "optimizer": {"target": "sgd", "lr": 0.01},
              "data": {"train": CLASSES, "val": CLASSES, "batch_size": 8}, "max_steps": STEPS},
}  # fmt: skip

ARGUMENTS: dict[str, Given] = {
    # where the example of `launch explain` does not suit the data here
    "mlp": {"in_features": 6, "out_features": 5}, "cnn": {"in_channels": 3, "num_classes": 5},
    **{name: {"input_size": 6, "out_features": 5} for name in ("rnn", "lstm", "gru")},
    "cosine_restarts": {"T_0": "2 steps"}, "step": {"step_size": "1 step"}, "multi_step": {"milestones": ["1 step", "2 steps"]},
    "random_crop": {"size": 8},
    "csv": {"path": "files/table.csv"}, "npz": {"path": "files/arrays.npz"}, "tensor_dataset": {"path": "files/arrays.npz"},
    "image_folder": {"root": "files/pictures", "size": 8},
}  # fmt: skip

GRU = {"target": "gru", "input_size": 6, "out_features": 5}
RAGGED = {"target": "tests.worker.sets:Ragged"}
SEQUENCES: Given = {"data": {"train": RAGGED, "batch_size": 8, "collate": "pad"}}
LABELED = RAGGED | {"labels": True}
LABELS: Given = {"data": {"train": LABELED, "val": LABELED, "batch_size": 8, "collate": "pad"}}
TO_NUMBERS: Given = {"data": {"train": NUMBERS, "val": NUMBERS, "batch_size": 8}}
TO_MARKS: Given = {"data": {"train": {"target": "tests.worker.sets:marks", "samples": 8}, "batch_size": 8}}
TRAIN: dict[tuple[str, str], Given] = {
    # what has to stand in `train` beside an entry, where its kind's own does not do
    ("model", "cnn"): {"data": {"train": IMAGES, "batch_size": 8}},
    **{("model", name): SEQUENCES for name in ("rnn", "lstm", "gru")},
    **{("loss", name): TO_NUMBERS for name in ("mse", "l1", "smooth_l1", "huber")},
    ("loss", "bce_with_logits"): TO_MARKS,
    ("loss", "bce"): TO_MARKS | {"model": {"target": "tests.worker.sets:Ending", "by": "Sigmoid"}},
    ("loss", "nll"): {"model": {"target": "tests.worker.sets:Ending", "by": "LogSoftmax"}},
    ("loss", "kl_div"): TO_MARKS | {"model": {"target": "tests.worker.sets:Ending", "by": "LogSoftmax"}},
    ("collate", "pad"): SEQUENCES | {"model": GRU},
    **{("metric", name): TO_NUMBERS | {"loss": "mse"} for name in ("mae", "mse", "rmse", "r2", "explained_variance")},
    ("metric", "error_rate"): LABELS | {"model": GRU | {"output": "all"}, "loss": "ctc"},
    ("loss", "ctc"): LABELS | {"model": GRU | {"output": "all"}},
    ("data", "waves"): {"data": {"train": {"target": "waves", "samples": 8}, "batch_size": 8, "collate": "pad"},
                        "model": {"target": "gru", "input_size": 1, "out_features": 4}},
    ("data", "glyphs"): {"model": GRU | {"input_size": 8, "out_features": 11, "output": "all"},
                         "loss": {"target": "ctc", "blank": 10}},
    ("data", "diabetes"): {"model": {"target": "tests.worker.sets:AnyInput", "outputs": 1}, "loss": "mse"},
}  # fmt: skip
WITHOUT_FILES = {entry.name for entry in CATALOGUE.values() if entry.builds.endswith(":from_torchvision")}
"""Data sets that would have to be downloaded: built, they say so."""


LAYER_ARGUMENTS: dict[str, Given] = {
    "GroupNorm": {"num_channels": 20}, "Unflatten": {"dim": 1, "unflattened_size": [4, 5]}, "Upsample": {"scale_factor": 2.0},
    "PixelShuffle": {"upscale_factor": 2}, "PixelUnshuffle": {"downscale_factor": 2}, "Softmax": {"dim": 1},
    "LogSoftmax": {"dim": 1}, **{f"{how}Pad{n}d": {"padding": 2} for how in ("Reflection", "Circular") for n in (1, 2, 3)},
}  # fmt: skip
SMALLEST = {names.split()[0] for names, _, _ in FAMILIES}


def given(entry: Entry) -> Given:
    example: Any = yaml.safe_load(explain(f"{PLACES[entry.kind]}.{entry.name}").example or "")
    for key in PLACES[entry.kind].split("."):
        example = example.get(key, example)  # `sequential` is no key, but a target's name
    example = example[0] if isinstance(example, list) else example
    own = LAYER_ARGUMENTS if entry.kind == "layer" else ARGUMENTS
    told = {key: value for key, value in example.items() if value is not None} if isinstance(example, dict) else {}
    return {"target": entry.name, **told, **own.get(entry.name, {})}


def train_of(entry: Entry) -> Given:
    """What `train` says of this entry, over JOB's."""
    target = given(entry)
    beside = TRAIN.get((entry.kind, entry.name), {})
    match entry.kind:
        case "data":
            return {
                "model": "tests.worker.sets:AnyInput",
                "data": {"train": target, "batch_size": 8},
                "limit_batches": 1,
                **beside,
            }
        case "augment":
            return {"model": CNN, "data": {"train": PICTURES, "batch_size": 8, "augment": [target]}, **beside}
        case "sampling" | "smote":  # which wants some neighbours
            return {"data": {"train": RARE, "batch_size": 8, entry.kind: target}, **beside}
        case "collate":
            return {"data": JOB["train"]["data"] | {"collate": target}, **beside}
        case "metric":
            return {"metrics": [target], **beside}
        case _:
            return {entry.kind: target, **beside}


def job_of(entry: Entry, folder: Path) -> Job:
    """Its workdir is the folder with the files; the sets and nets of these tests are importable all the same."""
    return parse_job(yaml.safe_dump(JOB | {"train": JOB["train"] | train_of(entry)}), workdir=str(folder))


def one_step(run: RunDir) -> None:
    """Every step of the schedule's run is asked for its rate; one is taken."""
    job = read_job(run)
    with joined(job) as world:
        training = build(run, job, world)
        before = [parameter.detach().clone() for parameter in training.parameters]
        state = TrainState(model=training.model, optimizer=training.optimizer)
        loss, _ = take_step(run, training, state, next(training.train.portions(0, 0)))
        assert all(torch.isfinite(torch.as_tensor(mean)) for mean, _ in loss.parts)
        rated(training)
        changed = [not torch.equal(now, then) for now, then in zip(training.parameters, before, strict=True)]
        assert any(changed) or not any(group["lr"] for group in state.optimizer.param_groups), "no weight has changed"
        if "val" in training.loaders:
            assert all(torch.isfinite(torch.tensor(value)) for value in evaluate(training, "val").values())


def rated(training: Training) -> None:
    rates = [training.schedule(done) for done in range(STEPS)]
    assert all(rate >= 0 for rate in rates)


def on_meta(name: str) -> None:
    """A network of torchvision, forward and backward, without memory or arithmetic."""
    target = Target.model_validate({"target": name, **CATALOGUE["model", name].model().model_dump(exclude_none=True)})
    size = 299 if name == "inception_v3" else 224
    with Hollow() if name.startswith("regnet") else torch.device("meta"):
        model = built("model", target, "train.model")
        output = model(torch.empty(2, 3, size, size))
    output = output if isinstance(output, torch.Tensor) else output[0]
    assert output.shape == (2, 1000)
    output.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters()) or name in ("googlenet", "inception_v3")


class Hollow(TorchFunctionMode):
    """Weights alone are on the meta device: RegNet reckons its widths with tensors."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.empty, torch.zeros, torch.ones):
            kwargs = {**(kwargs or {}), "device": "meta"}
        return func(*args, **(kwargs or {}))


def is_torchvisions(entry: Entry) -> bool:
    return "torchvision.models" in entry.needs


def through_layer(entry: Entry) -> None:
    """A layer of torch.nn by itself, forward and backward."""
    layer = make_layer(Target.model_validate(given(entry)), "train.model.layers[0]")
    dimensions = int(entry.name[-2]) if entry.name.endswith(("1d", "2d", "3d")) else 2 if entry.name.startswith("Pixel") else 1
    inputs = torch.randn(2, 20, *[10] * dimensions, requires_grad=True)
    output = layer(torch.arange(8).view(2, 4) if entry.name == "Embedding" else inputs)
    output.sum().backward()


def refused(run: RunDir) -> None:
    with pytest.raises(WorkerError, match="data/pictures"), joined(read_job(run)) as world:
        build(run, read_job(run), world)


def stepping(entry: Entry, folder: Path) -> Callable[[], None]:
    """What is done with an entry. Raises SpecError where its job does not load."""
    if entry.kind == "layer":
        return partial(through_layer, entry)
    if is_torchvisions(entry):
        return partial(on_meta if entry.name in SMALLEST else get_model_builder, entry.name)
    run = RunDir(folder / label(entry))
    run.path.mkdir()
    run.job.write_text(dump_job(job_of(entry, folder)))
    return partial(refused if entry.name in WITHOUT_FILES else one_step, run)


def walk(folder: Path) -> dict[str, str]:
    """On a rank: what went wrong, by entry."""
    wrong = {}
    files_in(folder)
    os.chdir(folder)  # as a rank is in the job's workdir
    for entry in CATALOGUE.values():
        try:
            stepping(entry, folder)()
        except Exception as error:
            wrong[label(entry)] = f"{type(error).__name__}: {error}"
    return wrong


def files_in(folder: Path) -> None:
    """A table, arrays and pictures."""
    import numpy as np
    from PIL import Image

    files = folder / "files"
    files.mkdir()
    (files / "table.csv").write_text("a,b,kind\n" + "1.5,2.5,0\n2.5,0.5,1\n" * 4)
    np.savez(files / "arrays.npz", input=np.ones((8, 6), dtype=np.float32), target=np.arange(8) % 5)
    for kind in ("cats", "dogs"):
        (files / "pictures" / kind).mkdir(parents=True)
        Image.new("RGB", (9, 9), "red").save(files / "pictures" / kind / "one.png")


def label(entry: Entry) -> str:
    return f"{entry.kind}-{entry.name}"


@pytest.fixture(scope="module")
def went_wrong(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The whole catalogue, in one process."""
    return on_ranks(1, walk, tmp_path_factory.mktemp("catalogue"), may_take_s=MANY_MAY_TAKE_S)[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=label)
def test_it_is_built_and_takes_a_step(went_wrong: dict[str, str], entry: Entry) -> None:
    assert went_wrong.get(label(entry)) is None


@pytest.mark.long
@pytest.mark.parametrize("name", [entry.name for entry in CATALOGUE.values() if is_torchvisions(entry)])
def test_every_network_of_torchvision_takes_a_step(name: str) -> None:
    on_meta(name)
