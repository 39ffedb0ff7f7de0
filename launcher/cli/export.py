from __future__ import annotations

from pathlib import Path

import click

from launcher.cli import options


@click.command("export")
@options.one_run()
@click.option("--to", metavar="FILE", required=True, help="Its ending says what: .safetensors, .pth, .pt2 or .onnx.")
@options.checkpoint_option
@options.runs_option
def command(run: str, to: str, checkpoint: str | None, runs: str | None) -> int:
    """Write the trained model as a file for others.

    \b
    launch export last --to digits.safetensors     its state_dict; .pth likewise
    launch export last --to digits.onnx            a program with its weights; .pt2 for torch.export.load
    """
    from launcher.cli.one_process import of_run
    from launcher.runs import find_run, runs_folder

    return of_run(find_run(run, runs_folder(runs)), "export", "--to", str(Path(to).absolute()), checkpoint=checkpoint)
