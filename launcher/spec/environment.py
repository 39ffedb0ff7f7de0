from __future__ import annotations

from typing import Annotated, Literal

from launcher.spec.base import Frozen, Said
from launcher.spec.slurm import Word


class Environment(Frozen):
    """What surrounds the agents on their nodes; each backend alike."""

    python: Annotated[Word, Said("the path of an interpreter", "/opt/venv/bin/python")] | None = None
    """The interpreter on the nodes; the one that runs launch, unless given."""
    setup: Annotated[list[Word], Said("a list of shell lines", '["module load cuda"]')] = []
    """Shell lines run before the agent: module load, source activate."""
    container: Annotated[Word, Said("an image", "nvcr.io/nvidia/pytorch:26.10-py3")] | None = None
    """Container image in which agents run; its `python` (or `python:`, inside it) has launcher installed."""
    runtime: Literal["pyxis", "apptainer"] = "pyxis"
    """What runs the container: pyxis, a plug-in of Slurm (srun --container-image), or apptainer."""
    mounts: Annotated[list[Word], Said("a list of paths, or of outside:inside", "[/scratch]")] = []
    """Folders seen inside the container beside workdir and the run directory."""
    interface: Annotated[Word, Said("the name of a network interface", "ib0")] | None = None
    """Network interface of NCCL and gloo: NCCL_SOCKET_IFNAME, GLOO_SOCKET_IFNAME."""
