from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from launcher.errors import BackendError

PACKAGE = Path(__file__).parents[1]
STARTERS = (("jobs", "*.yaml"), ("slurm", "train.sbatch"), ("slurm/profiles", "*.yaml"))


@click.command("init")
@click.argument("folder", type=click.Path(path_type=Path), default=".", metavar="[FOLDER]")
def command(folder: Path) -> None:
    """Write starter jobs into ./jobs, a batch script and site profiles into ./slurm. What is there already stays as it is.

    A site's profile is read from ~/.config/launcher: copy it there, under a name of yours.

    \b
    launch init
    launch init my-project
    """
    from launcher.cli.terminal import shown_path

    written: list[Path] = []
    target = folder
    try:
        for source, place in starters():
            target = folder / place / source.name
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():
                print(f"{shown_path(target)} is there already, kept")
                continue
            target.write_bytes(source.read_bytes())
            written.append(target)
            print(f"{shown_path(target)} written")
    except OSError as error:
        raise BackendError(f"cannot write into {target.parent}: {error.strerror}") from None
    first = shown_path(next(iter(written), folder / "jobs" / "resnet.yaml"))
    print(f"next: launch {first} --dry-run, then launch {first}; launch explain tells what a job may say")


def starters() -> Iterator[tuple[Path, str]]:
    """Files, as the wheel carries them or as they stand in a checkout, and the folder that each goes to."""
    carried = (PACKAGE / "starter").is_dir()
    for place, pattern in STARTERS:
        folder = (PACKAGE / "starter" if carried else PACKAGE.parent) / place
        yield from ((path, place) for path in sorted(folder.glob(pattern)))
