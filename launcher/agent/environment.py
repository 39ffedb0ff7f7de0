"""The environment of a node's ranks: the agent's own, the plan's, the node's, and torchrun's variables for each rank."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.errors import BackendError
from launcher.protocol import OwnStart
from launcher.rank import FOLDER
from launcher.references import filled
from launcher.rundir import RunDir, read_json
from launcher.topology import Share

DEFAULTS = {"TORCH_NCCL_ASYNC_ERROR_HANDLING": "1"}
"""What torchrun sets for its ranks unless it is set already."""
SHARED_WITHIN_S = 3.0
LOOK_AGAIN_S = 0.1
TORCHRUN = ("torch", "torch.distributed.run")
"""What the fork server imports for the other engine."""


class Unshared(BackendError):
    """The node does not see the run directory: a matter of where that lies, and no fault of the node."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one node executes for a run, as plan.json says."""

    run: RunDir
    node: int
    kind: str
    target: str
    argv: tuple[str, ...]
    """What follows argv[0]."""
    cwd: str
    preload: tuple[str, ...]
    stop_grace_s: float
    engine: str
    max_restarts: int
    environment: Mapping[str, str]
    """Of the fork server; a rank's has torchrun's variables on top."""
    cpus: tuple[int, ...] | None
    bind: bool
    """Whether to find cores for each rank where `binding` does not say them."""
    binding: tuple[Share, ...] | None
    cuda: bool


def read_work(run_dir: str, node: int, own: Mapping[str, str], *, mark: str | None = None,
              handed: Mapping[str, str] | None = None) -> Work:  # fmt: skip
    """`own`: the agent's environment. `handed`: what references may name beside it. `mark`: that of the run directory.

    Raises BackendError where the plan cannot be read, is another run directory's, or names an unset variable.
    """
    run = RunDir(run_dir)
    refuse_unshared(run, mark)
    plan = read_json(run.plan)
    if plan is None:
        raise Unshared(unshared(run))
    entry, share = plan["entry"], plan["nodes"][node]
    preload = entry["preload"] if entry["engine"] == "launcher" else TORCHRUN
    return Work(
        run=run, node=node, kind=entry["kind"], target=run.fill(entry["target"]), argv=tuple(map(run.fill, entry["argv"])),
        cwd=run.fill(entry["cwd"]), preload=tuple(preload), stop_grace_s=entry["stop_grace_s"], engine=entry["engine"],
        max_restarts=entry["max_restarts"], environment=node_environment(plan, share, own, handed or {}),
        cpus=tuple(share["cpus"]) if share["cpus"] else None, bind=plan["bind"],
        binding=tuple(map(tuple, share["binding"])) if share["binding"] else None,
        cuda=plan["world"]["device"] == "cuda",
    )  # fmt: skip


def refuse_unshared(run: RunDir, mark: str | None) -> None:
    """A folder of the same name is not enough: it may be a copy. A network file system may show a new file late."""
    until = time.monotonic() + SHARED_WITHIN_S
    while mark is not None and read_json(run.mark) != mark:
        if time.monotonic() > until:
            raise Unshared(unshared(run))
        time.sleep(LOOK_AGAIN_S)


def unshared(run: RunDir) -> str:
    return (
        f"cannot read {run.path}, or not the same as elsewhere: every node must see the run directory under one path. "
        "Choose a place on a shared file system with --runs DIR"
    )


def node_environment(
    plan: Mapping[str, Any], share: Mapping[str, Any], own: Mapping[str, str], handed: Mapping[str, str]
) -> dict[str, str]:
    known = {**handed, **own}
    given = {name: filled(name, value, known) for name, value in {**plan["env"], **share["env"]}.items()}
    return {**DEFAULTS, **own, **given}


def flight_recorder(attempt: Path, channels: Path, known: Mapping[str, str]) -> dict[str, str]:
    """NCCL's record of its last collectives, written at a time-out or where the agent asks for it; what is set already stays."""
    wanted = {
        "TORCH_NCCL_TRACE_BUFFER_SIZE": "2000",
        "TORCH_NCCL_DUMP_ON_TIMEOUT": "1",
        "TORCH_FR_DUMP_TEMP_FILE": str(attempt / "nccl-trace-rank-"),
        "TORCH_NCCL_DEBUG_INFO_PIPE_FILE": str(channels / "nccl-"),
    }
    return {name: value for name, value in wanted.items() if name not in known}


def rank_environment(start: OwnStart, local_rank: int, channels: Path) -> dict[str, str]:
    """What torchrun sets for a rank (torch.distributed.elastic.agent.server: LocalElasticAgent._start_workers), and our own."""
    rank, world_size = start["base_rank"] + local_rank, str(start["world_size"])
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(local_rank),
        "GROUP_RANK": str(start["group_rank"]),
        "ROLE_RANK": str(rank),
        "ROLE_NAME": "default",
        "LOCAL_WORLD_SIZE": str(start["local_world_size"]),
        "WORLD_SIZE": world_size,
        "GROUP_WORLD_SIZE": str(start["nodes"]),
        "ROLE_WORLD_SIZE": world_size,
        "MASTER_ADDR": start["store_host"],
        "MASTER_PORT": str(start["store_port"]),
        "TORCHELASTIC_RESTART_COUNT": str(start["restarts"]),
        "TORCHELASTIC_MAX_RESTARTS": str(start["max_restarts"]),
        "TORCHELASTIC_RUN_ID": RunDir(start["run_dir"]).id,
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_ERROR_FILE": str(channels / f"error-{local_rank}.json"),
        "LAUNCHER_RUN_DIR": start["run_dir"],  # not of the fork server, which may serve the next trial of a sweep
        "LAUNCHER_ATTEMPT": str(start["attempt"]),
        FOLDER: str(channels),
    }
