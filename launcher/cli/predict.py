from __future__ import annotations

from pathlib import Path

import click

from launcher.cli import options

SPLITS = ("train", "val", "test")


@click.command("predict")
@options.one_run()
@click.argument("data", metavar="DATA")
@click.option("--out", metavar="FILE", required=True, help="Its ending says what: .csv or .npz.")
@options.checkpoint_option
@options.runs_option
def command(run: str, data: str, out: str, checkpoint: str | None, runs: str | None) -> int:
    """Write the trained model's outputs for DATA, a row for each sample, in order.

    DATA: train, val or test of the job; a .csv, .npz or .safetensors file; a folder of pictures. What is new is prepared as the
    training data were.

    \b
    launch predict last new.csv --out predictions.csv
    launch predict resnet-digits val --out predictions.npz
    """
    from launcher.cli.one_process import of_run
    from launcher.runs import find_run, runs_folder

    found = str(Path(data).absolute()) if data not in SPLITS and Path(data).exists() else data
    return of_run(find_run(run, runs_folder(runs)), "predict", found, "--out", str(Path(out).absolute()), checkpoint=checkpoint)
