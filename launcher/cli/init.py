from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from launcher.errors import BackendError

PACKAGE = Path(__file__).parents[1]


@click.command("init")
@click.argument("folder", type=click.Path(path_type=Path), default=".", metavar="[FOLDER]")
def command(folder: Path) -> None:
    """Write starter jobs, and templates for clusters, into ./jobs. What is there already stays as it is.

    \b
    launch init
    launch init my-project
    """
    from launcher.cli.terminal import shown_path

    jobs = folder / "jobs"
    written: list[Path] = []
    try:
        jobs.mkdir(parents=True, exist_ok=True)
        for source in starters():
            target = jobs / source.name
            if target.exists():
                print(f"{shown_path(target)} is there already, kept")
                continue
            target.write_bytes(source.read_bytes())
            written.append(target)
            print(f"{shown_path(target)} written")
    except OSError as error:
        raise BackendError(f"cannot write into {jobs}: {error.strerror}") from None
    first = shown_path(next(iter(written), jobs / "resnet.yaml"))
    print(f"next: launch {first} --dry-run, then launch {first}; launch explain tells what a job may say")


def starters() -> Iterator[Path]:
    """Job files and templates, as the wheel carries them or as they stand in a checkout."""
    for inside, beside, pattern in (("starter/jobs", "jobs", "*.yaml"), ("starter/slurm", "slurm", "*.sbatch")):
        folder = PACKAGE / inside if (PACKAGE / inside).is_dir() else PACKAGE.parent / beside
        yield from sorted(folder.glob(pattern))
