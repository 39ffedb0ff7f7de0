from __future__ import annotations

import tempfile

import click

from launcher.cli import options


@click.command("debug")
@options.spec_file
@options.set_option
@click.option("--steps", type=click.IntRange(min=1), metavar="N", help="How many steps (default: 3; with --gradients 1).")
@click.option("--batch-size", type=click.IntRange(min=1), metavar="N", help="Samples per step (default: the job's batch_size).")
@click.option("--anomaly", is_flag=True, help="Name the operation whose gradient is not a number (torch's anomaly detection).")
@click.option(
    "--gradients", is_flag=True, help="A table of the last step: weight and gradient norm of each layer, and its update."
)
@click.option("--pdb", is_flag=True, help="Open the debugger where an exception was raised.")
def command(
    spec: str, overrides: tuple[str, ...], steps: int | None, batch_size: int | None, anomaly: bool, gradients: bool, pdb: bool
) -> int:
    """The first steps in one process on one device, without agents: breakpoints and prints work. Makes no run.

    \b
    launch debug jobs/resnet.yaml
    launch debug jobs/resnet.yaml --steps 10 --anomaly
    launch debug jobs/resnet.yaml --gradients
    launch debug train-my-own.yaml --pdb
    """
    from launcher.cli.one_process import alone, environment, program, run_in_foreground, worker
    from launcher.errors import UsageError
    from launcher.load import dump_job, load_job
    from launcher.rundir import RunDir
    from launcher.runs import runs_folder
    from launcher.weights import settled

    job, plan = alone(settled(load_job(spec, overrides=overrides), runs_folder()))
    if job.run:
        if steps or batch_size or anomaly or gradients:
            raise UsageError(
                "--steps, --batch-size, --anomaly and --gradients are for train:, the built-in worker; "
                "a script of your own takes --pdb"
            )
        return run_in_foreground(program(plan, pdb=pdb), plan.entry.cwd, environment(plan))
    chosen = [("--steps", steps), ("--batch-size", batch_size)]
    numbers = [word for name, value in chosen if value is not None for word in (name, str(value))]
    flags = [name for name, given in (("--anomaly", anomaly), ("--gradients", gradients), ("--pdb", pdb)) if given]
    with tempfile.TemporaryDirectory(prefix="launch-debug-") as folder:
        RunDir(folder).job.write_text(dump_job(job))
        argv = worker("debug", folder, *numbers, *flags)
        return run_in_foreground(argv, plan.entry.cwd, environment(plan))
