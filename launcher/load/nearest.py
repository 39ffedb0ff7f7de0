"""The name that a mistaken one probably stands for."""

from __future__ import annotations

from collections.abc import Iterator

from launcher.errors import LONGEST_GUESSED, did_you_mean, near
from launcher.load.nodes import Path
from launcher.spec.fields import ROOT, Spot

ELSEWHERE = {
    "gpus": "resources.procs_per_node", "nproc_per_node": "resources.procs_per_node",
    "gpus_per_node": "resources.procs_per_node", "devices": "resources.procs_per_node",
    "num_nodes": "resources.nodes", "nnodes": "resources.nodes", "walltime": "resources.time",
    "time_limit": "resources.time", "num_epochs": "train.epochs", "max_epochs": "train.epochs",
    "num_train_epochs": "train.epochs", "steps": "train.max_steps", "batch": "train.data.batch_size",
    "bs": "train.data.batch_size", "per_device_train_batch_size": "train.data.micro_batch_size",
    "gradient_accumulation_steps": "train.data.micro_batch_size", "workers": "train.data.num_workers",
    "dataset": "train.data.train", "transforms": "train.data.augment", "lr": "train.optimizer.lr",
    "learning_rate": "train.optimizer.lr", "momentum": "train.optimizer.momentum",
    "weight_decay": "train.optimizer.weight_decay", "optim": "train.optimizer", "scheduler": "train.schedule",
    "lr_scheduler": "train.schedule", "warmup": "train.schedule.warmup", "warmup_steps": "train.schedule.warmup",
    "criterion": "train.loss", "network": "train.model", "amp": "train.precision", "fp16": "train.precision",
    "bf16": "train.precision", "mixed_precision": "train.precision", "grad_clip": "train.clip_grad_norm",
    "max_grad_norm": "train.clip_grad_norm", "sync_bn": "train.sync_batch_norm", "monitor": "checkpoint.keep_best",
    "save_every": "checkpoint.every", "wandb_project": "log.wandb.project", "script": "run.script",
    "args": "run.args", "command": "run.program", "entrypoint": "run.script", "cwd": "workdir",
    "environment_variables": "env", "manual_seed": "seed", "loss_fn": "train.loss",
    "max_retries": "retry.max_restarts", "restarts": "retry.max_restarts", "max_restarts": "retry.max_restarts",
    "eval_every": "train.evaluate_every", "val_every": "train.evaluate_every", "checkpoints": "checkpoint",
    "logging": "log", "dataloader": "train.data", "transform": "train.data.augment",
    "augmentation": "train.data.augment", "initializer": "train.init", "initialization": "train.init",
    "weight_init": "train.init", "torch_compile": "train.compile", "gradient_checkpointing": "train.activation_checkpointing",
    "strategy": "train.parallel", "distributed": "train.parallel",
}  # fmt: skip
"""How other tools call it -> where it is here."""
OTHER_PARALLELISM = {"fsdp", "deepspeed", "tensor_parallel", "pipeline_parallel", "zero", "megatron"}


def unknown_key(key: str, parent: Path, accepted: list[str]) -> str:
    """What is wrong with a key that does not exist, and what was probably meant."""
    if parent == ("train",) and key in OTHER_PARALLELISM:
        return (
            f"the built-in worker trains with DDP, '{key}' is not for it. "
            "A script of your own may use it: start that with run: {script: ...} in place of train:"
        )
    shown = f"unknown key '{key}'" if len(key) <= LONGEST_GUESSED else f"unknown key of {len(key):,} characters"
    listed = f" Accepted here: {', '.join(accepted)}"
    takes = listed if "target" in accepted else ""  # arguments are not one's own names, and one guess is not all there is
    if close := near(key, accepted):
        return f"{shown}.{did_you_mean(close)}{takes}"
    here = ".".join(map(str, parent))
    for place in elsewhere(key):
        above, _, name = place.rpartition(".")
        return (f"{shown}.{did_you_mean(name)}" if above == here else f"{shown} here. Did you mean {place}?") + takes
    return f"{shown}.{listed}" if accepted else f"{shown}: nothing is accepted here"


def elsewhere(key: str) -> Iterator[str]:
    """Where a field of this name, or of this meaning, stands."""
    if key in ELSEWHERE:
        yield ELSEWHERE[key]
    yield from (".".join(path) for path in paths() if path[-1] == key)


def paths(spot: Spot = ROOT, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every field, arguments of targets apart."""
    for name, field in spot.fields().items():
        if name != "target":
            yield (*above, name)
            yield from paths(field, (*above, name))
