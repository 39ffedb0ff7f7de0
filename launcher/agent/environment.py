"""The environment of a node's ranks: the agent's own, the plan's, the node's, and torchrun's variables for each rank."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.errors import BackendError
from launcher.protocol import Start
from launcher.rank import FOLDER
from launcher.rundir import RunDir, read_json

REFERENCE = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}")
DEFAULTS = {"TORCH_NCCL_ASYNC_ERROR_HANDLING": "1"}
"""What torchrun sets for its ranks unless it is set already."""
TORCHRUN = ("torch", "torch.distributed.run")
"""What the fork server imports for the other engine."""


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


def read_work(run_dir: str, node: int, own: Mapping[str, str]) -> Work:
    """`own`: the agent's environment. Raises BackendError where the plan cannot be read or names an unset variable."""
    run = RunDir(run_dir)
    plan = read_json(run.plan)
    if plan is None:
        raise BackendError(
            f"cannot read {run.plan}: every node must see the run directory under one path. Choose another with --runs DIR"
        )
    entry, share = plan["entry"], plan["nodes"][node]
    preload = entry["preload"] if entry["engine"] == "launcher" else TORCHRUN
    return Work(
        run=run, node=node, kind=entry["kind"], target=run.fill(entry["target"]), argv=tuple(map(run.fill, entry["argv"])),
        cwd=run.fill(entry["cwd"]), preload=tuple(preload), stop_grace_s=entry["stop_grace_s"], engine=entry["engine"],
        max_restarts=entry["max_restarts"], environment=node_environment(run, plan, share, own),
        cpus=tuple(share["cpus"]) if share["cpus"] else None,
    )  # fmt: skip


def node_environment(run: RunDir, plan: Mapping[str, Any], share: Mapping[str, Any], own: Mapping[str, str]) -> dict[str, str]:
    given = {name: resolve(name, value, own) for name, value in {**plan["env"], **share["env"]}.items()}
    return {**DEFAULTS, **own, **given, "LAUNCHER_RUN_DIR": str(run.path)}


def resolve(name: str, text: str, own: Mapping[str, str]) -> str:
    """Replaces ${env:NAME} by this node's value. Raises BackendError where it has none."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in own:
            raise BackendError(
                f"env.{name} refers to ${{env:{match[1]}}}, which is not set on this node. Export {match[1]} before launch"
            )
        return own[match[1]]

    return REFERENCE.sub(value, text)


def rank_environment(start: Start, local_rank: int, channels: Path) -> dict[str, str]:
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
        "LAUNCHER_ATTEMPT": str(start["attempt"]),
        FOLDER: str(channels),
    }
