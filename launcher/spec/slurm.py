from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from launcher.spec.base import Frozen, Said
from launcher.spec.values import Size


def one_line(value: str) -> str:
    if not value or any(ord(character) < 32 for character in value):
        raise ValueError("stands in one line of the batch script: no line breaks, and not empty")
    return value


Word = Annotated[str, AfterValidator(one_line)]


class Slurm(Frozen):
    """What is asked of Slurm; what a site needs beside it goes into `extra`."""

    profile: Word | None = None
    """A site's defaults: the name of a file in ~/.config/launcher/ or of one that comes with launcher, without `.yaml`."""
    partition: Word | None = None
    """--partition"""
    account: Word | None = None
    """--account"""
    qos: Word | None = None
    """--qos"""
    gpus_per_node: Annotated[int, Field(ge=0, le=1024)] | None = None
    """GPUs of each node; also how many ranks a node has, where that is not said."""
    gpu_option: Literal["gpus-per-node", "gres"] = "gpus-per-node"
    """How this site wants GPUs asked for: --gpus-per-node=4, or --gres=gpu:4."""
    cpus_per_proc: Annotated[int, Field(ge=1, le=4096)] | None = None
    """CPU cores of each rank."""
    mem: Size | None = None
    """Memory of each node: --mem"""
    constraint: Word | None = None
    """--constraint"""
    nodelist: Word | None = None
    """--nodelist"""
    exclude: Word | None = None
    """--exclude"""
    reservation: Word | None = None
    """--reservation"""
    mail_user: Annotated[Word, Said("an address", "me@example.org")] | None = None
    """Is told of begin, end and failure."""
    extra: list[Word] = []
    """Further options of sbatch, verbatim, one per line: `--licenses=foo`."""
