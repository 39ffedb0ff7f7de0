"""What the stacks of all ranks say in one line: `7 ranks in all_reduce, rank 3 in DataLoader: user.py:41`. Pure functions.

A rank's text is what the standard library's faulthandler writes, or the agent's word for why there is none.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from launcher.rundir import RunDir, write_atomic

NO_ANSWER = "no answer: "
NO_FILE = f"{NO_ANSWER}nothing came from its node"
CHILD = re.compile(r"^-- process \d+$", re.MULTILINE)
LOADER_LOOP = "torch/utils/data/_utils/worker.py"
BLOCK = re.compile(r"^(?:Current thread|Thread) 0x[0-9a-f]+.*$", re.MULTILINE)
FRAME = re.compile(r'^  File "(?P<file>[^"]*)", line (?P<line>\d+|\?\?\?) in (?P<function>.+)$', re.MULTILINE)
STDLIB = str(Path(os.__file__).parent.name)
INSTALLED = ("site-packages/", "dist-packages/")
OURS = re.compile(r"/launcher/(?:worker/.*|rank)\.py$")
GROUPS_NAMED = 4

COLLECTIVE = re.compile(
    r"(?:monitored_)?barrier|(?:all|reduce|batch)_\w+|_?all_\w+|broadcast\w*|reduce\w*|gather\w*|scatter\w*|i?send\w*|i?recv\w*"
    r"|init_process_group|new_group|destroy_process_group|_store_based_barrier"
)
PLACES = (
    (r"torch/distributed/(?:rendezvous|elastic)", r".*", "the rendezvous", True),
    (r"torch/distributed/distributed_c10d\.py$", r"(?:init_process_group|_new_process_group_helper)", "init_process_group", True),
    (r"torch/nn/parallel/distributed\.py$", r"_?(?:sync\w*|distributed_broadcast\w*|_ddp_init_helper)", "DDP's broadcast", True),
    (r"torch/autograd/graph\.py$", r"_engine_run_backward", "backward", True),
    (r"torch/utils/data/dataloader\.py$", r".*", "DataLoader", False),
    (r"torch/cuda/(?:__init__|streams)\.py$", r"(?:synchronize|wait\w*)", "the GPU's synchronize", True),
    (r"launcher/worker/checkpoint\.py$", r".*", "the checkpoint", False),
)  # fmt: skip
"""File, function, what it is called, and whether one waits there for other ranks."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    file: str
    line: str
    function: str

    @property
    def at(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a rank is, in words that people use."""

    what: str
    where: str | None = None
    """file:line of the user's code, or else of ours."""
    waits: bool = False
    """For other ranks: such a rank is hardly the one to blame."""
    answered: bool = True


@dataclass(frozen=True, kw_only=True)
class Group:
    place: Place
    ranks: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Folded:
    groups: tuple[Group, ...]
    """The largest first."""

    @property
    def odd(self) -> Group | None:
        """Who keeps the others waiting, where that is plain."""
        apart = [group for group in self.groups if not group.place.waits]
        return apart[0] if len(apart) == 1 and len(self.groups) > 1 else None

    def line(self, root: str = "") -> str:
        """`root`: the folder that paths are shown relative to."""
        if not self.groups:
            return "where its ranks are is not known"
        everywhere = all(group.place.waits for group in self.groups)
        shown = [described(group, root, place=everywhere or not group.place.waits) for group in self.groups[:GROUPS_NAMED]]
        left = sum(len(group.ranks) for group in self.groups[GROUPS_NAMED:])
        return ", ".join([*shown, *([f"and {left} more elsewhere"] if left else [])])


def fold(texts: Mapping[int, str]) -> Folded:
    """`texts`: by rank."""
    alike: dict[Place, list[int]] = {}
    for rank, text in sorted(texts.items()):
        alike.setdefault(place_of(text), []).append(rank)
    groups = [Group(place=place, ranks=tuple(ranks)) for place, ranks in alike.items()]
    return Folded(groups=tuple(sorted(groups, key=lambda group: (-len(group.ranks), group.ranks))))


def place_of(text: str) -> Place:
    if text.startswith(NO_ANSWER) or not text.strip():
        reason = text.removeprefix(NO_ANSWER).strip() or "nothing was written"
        return Place(what=f"gave no answer ({reason})", answered=False)
    own, *children = CHILD.split(text)
    frames = main_thread(own)
    users = next(filter(is_users, frames), None)
    where = users.at if users is not None else None
    known = [name for name in map(named, frames) if name is not None]
    if waiting := [what for what, waits in known if waits]:
        return Place(what=waiting[-1], where=where, waits=True)  # the outermost: all_gather_object, not the all_gather in it
    if known:
        return Place(what=known[0][0], where=next(filter(None, map(loading, children)), where))
    innermost = users or next((frame for frame in frames if not is_stdlib(frame)), None) or next(iter(frames), None)
    if innermost is None:
        return Place(what="no Python code")
    return Place(what=innermost.function, where=innermost.at)


def main_thread(text: str) -> list[Frame]:
    """Innermost frame first, down to where the program begins. The threads come newest first: the last one is the main one."""
    block = BLOCK.split(text)[-1]
    frames = (Frame(file=each["file"], line=each["line"], function=each["function"]) for each in FRAME.finditer(block))
    return list(takewhile(lambda frame: "/launcher/agent/" not in frame.file, frames))


def loading(text: str) -> str | None:
    """Where in the user's code a loader process is. Below its loop stand the frames of the rank that it was forked from."""
    frames = takewhile(lambda frame: not frame.file.endswith(LOADER_LOOP), main_thread(text))
    return next((frame.at for frame in frames if is_users(frame)), None)


def named(frame: Frame) -> tuple[str, bool] | None:
    """What a frame of torch's or ours is called, and whether one waits there for other ranks."""
    for file, function, what, waits in PLACES:
        if re.search(file, frame.file) and re.fullmatch(function, frame.function):
            return what, waits
    if frame.file.endswith("torch/distributed/distributed_c10d.py") and COLLECTIVE.fullmatch(frame.function):
        return frame.function.lstrip("_"), True
    return None


def is_stdlib(frame: Frame) -> bool:
    return frame.file.startswith("<frozen") or (f"/{STDLIB}/" in frame.file and not any(part in frame.file for part in INSTALLED))


def is_users(frame: Frame) -> bool:
    return not (is_stdlib(frame) or any(part in frame.file for part in INSTALLED) or OURS.search(frame.file))


def described(group: Group, root: str, *, place: bool) -> str:
    who = f"rank {group.ranks[0]}" if len(group.ranks) == 1 else f"{len(group.ranks)} ranks"
    if not group.place.answered:
        return f"{who} {group.place.what}"
    where = f": {shown(group.place.where, root)}" if place and group.place.where else ""
    return f"{who} in {group.place.what}{where}"


def shown(where: str, root: str) -> str:
    return where.removeprefix(f"{root.rstrip('/')}/") if root else where


def read(run: RunDir, attempt: int, ranks: Iterable[int]) -> dict[int, str]:
    """Each rank's newest stacks."""
    return {rank: text(run.stacks(attempt, rank)) for rank in ranks}


def text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return NO_FILE


def whole(texts: Mapping[int, str], line: str) -> Iterator[str]:
    yield f"{line}\n"
    for rank, stacks in sorted(texts.items()):
        yield f"\n== rank {rank}\n{stacks.rstrip()}\n"


def keep(run: RunDir, attempt: int, ranks: Sequence[int], root: str) -> Folded:
    """Writes the whole of it, the line first."""
    texts = read(run, attempt, ranks)
    folded = fold(texts)
    write_atomic(run.stacks(attempt), "".join(whole(texts, folded.line(root))), durable=False)
    return folded
