from __future__ import annotations

from typing import Annotated

from launcher.spec.base import Frozen, Said
from launcher.spec.slurm import Word


class Environment(Frozen):
    """What surrounds the agents on their nodes; each backend alike."""

    python: Annotated[Word, Said("the path of an interpreter", "/opt/venv/bin/python")] | None = None
    """The interpreter on the nodes; the one that runs launch, unless given."""
    setup: Annotated[list[Word], Said("a list of shell lines", '["module load cuda"]')] = []
    """Shell lines run before the agent: module load, source activate."""
    container: Annotated[Word, Said("an image", "nvcr.io/nvidia/pytorch:26.10-py3")] | None = None
    """Container image in which agents run, by the runtime of the site's profile."""
    interface: Annotated[Word, Said("the name of a network interface", "ib0")] | None = None
    """Network interface of NCCL and gloo: NCCL_SOCKET_IFNAME, GLOO_SOCKET_IFNAME."""
