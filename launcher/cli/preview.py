from __future__ import annotations

import tempfile
from pathlib import Path

import click

from launcher.cli import options


@click.command("preview")
@options.spec_file
@options.set_option
@click.option("--out", type=click.Path(dir_okay=False), metavar="FILE", help="Where to (default: NAME-preview.png here).")
@click.option("--samples", type=click.IntRange(1, 256), default=16, show_default=True, metavar="N")
@click.option("--epoch", type=click.IntRange(min=0), default=0, show_default=True, metavar="N", help="Whose order and draws.")
def command(spec: str, overrides: tuple[str, ...], out: str | None, samples: int, epoch: int) -> int:
    """A PNG of what the network will see: training samples as they are and as augmentation makes them, with their targets.
    Makes no run.

    \b
    launch preview jobs/resnet.yaml
    launch preview jobs/resnet.yaml --epoch 3 --samples 32 --out augmented.png
    """
    from launcher.cli.one_process import alone, environment, run_in_foreground, worker
    from launcher.errors import UsageError
    from launcher.load import dump_job, load_job
    from launcher.rundir import RunDir

    job, plan = alone(load_job(spec, overrides=overrides))
    if job.run:
        raise UsageError("preview shows the data of train:, the built-in worker; this job is a program of its own")
    path = Path(out or f"{job.name}-preview.png").absolute()
    with tempfile.TemporaryDirectory(prefix="launch-preview-") as folder:
        RunDir(folder).job.write_text(dump_job(job))
        chosen = ["--out", str(path), "--samples", str(samples), "--epoch", str(epoch)]
        argv = worker("preview", *chosen, folder)
        return run_in_foreground(argv, plan.entry.cwd, environment(plan))
