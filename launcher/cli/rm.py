from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import click

from launcher.cli import options
from launcher.errors import BackendError, UsageError
from launcher.rundir import RunDir, locked


@click.command("rm")
@options.many_runs()
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@options.runs_option
def command(run: tuple[str, ...], yes: bool, runs: str | None) -> int:
    """Remove runs with all their checkpoints and logs. A live run is refused.

    \b
    launch rm resnet-digits
    launch rm 20261124-193812 --yes
    """
    from launcher.cli.terminal import shown_path, size, table
    from launcher.runs import find_run, runs_folder
    from launcher.standing import refuse_busy

    found = list({item.path: item for item in (find_run(name, runs_folder(runs)) for name in run)}.values())
    for each in found:
        refuse_busy(each)
    sizes = [disk_use(each.path) for each in found]
    print("\n".join(table([[shown_path(each.path), size(bytes_)] for each, bytes_ in zip(found, sizes, strict=True)])))
    if not yes and not agreed(len(found)):
        print("nothing was removed")
        return 1
    for each in found:
        remove(each)
    print(f"removed, {size(sum(sizes))} freed")
    return 0


def agreed(count: int) -> bool:
    """Raises UsageError where nobody can be asked."""
    if not sys.stdin.isatty():
        raise UsageError("rm asks before it removes, and there is no terminal: add --yes")
    return click.confirm(f"remove {'this run' if count == 1 else f'these {count} runs'}?")


def remove(run: RunDir) -> None:
    """Hidden first, so that a removal that is cut short leaves nothing that looks like a run; held, so that nobody begins it."""
    hidden = run.path.with_name(f".{run.id}.removed")
    try:
        with locked(run):
            run.path.rename(hidden)
        shutil.rmtree(hidden.resolve())
        hidden.unlink(missing_ok=True)  # a link to where there is more room
    except OSError as error:
        raise BackendError(f"cannot remove {run.path}: {error.strerror}") from None


def disk_use(folder: Path) -> int:
    """Bytes on disk of everything below; links are not followed."""
    total = 0
    for path, _, files in os.walk(folder):
        for name in files:
            total += Path(path, name).lstat().st_blocks * 512
    return total
