from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from launcher.spec import Job
from launcher.spec.catalogue import CATALOGUE, REQUIRED
from launcher.spec.docstrings import doc_of, field_docs
from launcher.spec.example import sample
from launcher.spec.fields import ROOT, Spot, arguments_of
from launcher.spec.monitor import metric_key
from launcher.spec.target import Target
from launcher.spec.values import Duration, Length, Size

FIELDS: dict[str, Any] = {
    "name": REQUIRED, "seed": 0, "workdir": REQUIRED, "env": {},
    "resources.backend": "auto", "resources.nodes": 1, "resources.procs_per_node": "auto", "resources.device": "auto",
    "resources.threads": "auto", "resources.time": None, "resources.agent": "launcher",
    "run.script": None, "run.module": None, "run.program": None, "run.args": [], "run.stop_grace": "30s",
    "train.early_stopping": None, "train.early_stopping.monitor": REQUIRED, "train.early_stopping.patience": REQUIRED,
    "train.early_stopping.min_delta": 0.0, "train.early_stopping.mode": None, "train.early_stopping.restore_best": False,
    "train.ema": None, "train.ema.decay": REQUIRED, "train.ema.evaluate": True,
    "train.weights": None, "train.freeze": [], "train.train_only": [],
    "train.init": None,
    "train.model": REQUIRED, "train.loss": REQUIRED, "train.optimizer": REQUIRED, "train.optimizer.groups": [],
    "train.optimizer.decay": "all", "train.schedule": None, "train.schedule.warmup": None,
    "train.data.train": REQUIRED, "train.data.val": None, "train.data.test": None, "train.data.batch_size": REQUIRED,
    "train.data.micro_batch_size": "auto", "train.data.shuffle": True, "train.data.drop_last": False, "train.data.num_workers": 0,
    "train.data.pin_memory": "auto", "train.data.prefetch": 2, "train.data.collate": None, "train.data.augment": [],
    "train.data.sampling": None, "train.data.smote": None,
    "train.metrics": [], "train.epochs": None, "train.max_steps": None, "train.evaluate_every": "1 epoch",
    "train.precision": "auto", "train.clip_grad_norm": None, "train.clip_grad_value": None, "train.sync_batch_norm": True,
    "train.compile": False, "train.channels_last": False, "train.activation_checkpointing": False,
    "train.deterministic": False, "train.parallel": "ddp", "train.limit_batches": None, "train.timeout": "10m",
    "checkpoint.every": "1 epoch", "checkpoint.keep_last": 2, "checkpoint.keep_best": None,
    "log.every": "10 steps", "log.wandb": None, "log.wandb.project": None, "log.wandb.entity": None, "log.wandb.group": None,
    "log.wandb.name": None, "log.wandb.tags": [], "log.tensorboard": False, "log.csv": False, "log.plots": True,
    "log.tensorboard.histograms": None, "log.tensorboard.graph": False, "log.gradients": None, "log.profile": None,
    "retry.max_restarts": 3, "retry.lost_after": "8s",
}  # fmt: skip
"""What users are promised: path -> default."""


def spot_of(path: str) -> Spot:
    spot: Spot | None = ROOT
    for key in path.split("."):
        spot = spot.child(key) if spot else None
    assert spot is not None, path
    return spot


def models(model: type[BaseModel] = Job) -> list[type[BaseModel]]:
    inner = [
        kind for field in fields_of(model) for kind, _ in field.branches if isinstance(kind, type) and issubclass(kind, BaseModel)
    ]
    return [model, *(below for kind in inner for below in models(kind))]


def fields_of(model: type[BaseModel]) -> list[Spot]:
    return list(Spot(annotation=model).fields().values())


@pytest.mark.parametrize(("path", "default"), FIELDS.items())
def test_promised_fields_have_their_defaults(path: str, default: Any) -> None:
    assert spot_of(path).default == default


@pytest.mark.parametrize("model", sorted(set(models()), key=str), ids=str)
def test_every_attribute_is_a_field_with_a_doc(model: type[BaseModel]) -> None:
    fields = model.model_fields
    own = {name for name in vars(model).get("__annotations__", {}) if not name.startswith("_") and name != "model_config"}
    assert own <= set(fields)
    assert {name for name in fields if not field_docs(model).get(name)} == set()


def test_a_job_is_frozen() -> None:
    job = Job.model_validate({"name": "a", "workdir": "/", "run": {"script": "x"}})
    with pytest.raises(ValueError, match="frozen"):
        job.seed = 3


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=lambda entry: f"{entry.kind}-{entry.name}")
def test_catalogue_defaults_are_what_their_types_accept(entry: Any) -> None:
    defaults = {name: default for name, (_, default) in entry.arguments.items() if default is not REQUIRED}
    required = {name: sample(spot) for name, spot in arguments_of(entry).items() if spot.default is REQUIRED}
    filled = entry.model.model_validate(required | defaults)
    assert {name: getattr(filled, name) for name in defaults} == defaults
    assert entry.doc
    assert ":" in entry.builds


@pytest.mark.parametrize(("text", "seconds"), [
    ("90s", 90), ("1.5s", 1.5), ("30m", 1800), ("2h", 7200), ("1d12h", 129600), ("1d2h3m4s", 93784), ("08:00:00", 28800),
    ("100:00:00", 360000),
])  # fmt: skip
def test_duration(text: str, seconds: float) -> None:
    assert Duration.parse(text).seconds == seconds


@pytest.mark.parametrize("text", ["", "90", "1h1d", "m", "1:2:3", "08:60:00", "-1s", "1 h", "1.5h", "10 steps"])
def test_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        Duration.parse(text)


@pytest.mark.parametrize(("text", "steps"), [
    ("300 steps", 300), ("1 step", 1), ("300steps", 300), ("2 epochs", 22), ("0.5 epochs", 6), ("10%", 11), ("0%", 0),
    ("2.5%", 3),
])  # fmt: skip
def test_length(text: str, steps: int) -> None:
    assert Length.parse(text).steps(per_epoch=11, total=110) == steps


@pytest.mark.parametrize("text", ["300", "5 epoch s", "-1 steps", "% 5", "1.5 steps", "30m"])
def test_no_length(text: str) -> None:
    with pytest.raises(ValueError, match="expected a length"):
        Length.parse(text)


@pytest.mark.parametrize("text", ["1 epoch", "5%"])
def test_length_of_a_run_of_unknown_length(text: str) -> None:
    with pytest.raises(ValueError, match="needs a run of known length"):
        Length.parse(text).steps(per_epoch=None, total=None)


@pytest.mark.parametrize(("text", "size"), [("512M", 2**29), ("16G", 2**34), ("100", 100), ("1T", 2**40)])
def test_size(text: str, size: int) -> None:
    assert Size.parse(text).bytes == size


@pytest.mark.parametrize(
    ("target", "key"), [("accuracy", "accuracy"), ("my_pkg.mod:f1", "f1"), ("torchmetrics.F1Score", "F1Score")]
)
def test_metrics_are_logged_under_their_short_name(target: str, key: str) -> None:
    assert metric_key(target) == key


@pytest.mark.parametrize(("key", "mode"), [
    ("val/loss", "min"), ("val/mae", "min"), ("train/loss", "min"), ("val/accuracy", "max"), ("val/f1", "max"),
    ("val/mean_squared_error", "min"), ("val/MeanAbsoluteError", "min"), ("val/my_MSE", "min"), ("val/JaccardIndex", "max"),
])  # fmt: skip
def test_losses_are_minimised_and_metrics_maximised(key: str, mode: str) -> None:
    metrics = ["my.mae", "accuracy", "my.f1", "my.mean_squared_error", "my.MeanAbsoluteError", "my.my_MSE", "my.JaccardIndex"]
    train = {"model": "my.a", "loss": "mse", "optimizer": "sgd", "epochs": 1, "metrics": metrics,
             "data": {"train": "digits", "val": "digits", "batch_size": 1}}  # fmt: skip
    job = Job(name="a", workdir="/", train=train, checkpoint={"keep_best": key})  # type: ignore[arg-type]  # as a file gives it
    assert job.checkpoint.keep_best is not None
    assert job.checkpoint.keep_best.mode == mode


def test_a_target_given_by_name_alone_is_a_target() -> None:
    job = Job(name="a", workdir="/", train={  # type: ignore[arg-type]  # as a file gives it
        "model": "my.Net", "loss": "mse", "optimizer": "sgd", "epochs": 1, "data": {"train": "digits", "batch_size": 1},
    })  # fmt: skip
    assert job.train is not None
    assert job.train.model == Target(target="my.Net")
    assert job.train.data.train.arguments == {"split": "train", "size": 8, "flatten": False, "normalize": True}


def test_sections_say_what_they_are() -> None:
    assert all(doc_of(spot) for spot in fields_of(Job))
