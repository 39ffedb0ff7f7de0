"""python -m launcher.worker [train|eval|export|predict|debug|preview] RUN_DIR [options]: a rank, under python or torchrun."""

from __future__ import annotations

import argparse
import atexit
import os
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NoReturn

from launcher import rank
from launcher.checkpoints import WRITER
from launcher.errors import EXIT_CODES, BackendError, LaunchError
from launcher.rundir import RunDir, locked
from launcher.worker import logs
from launcher.worker.errors import WorkerError

COMMANDS = ("train", "eval", "export", "predict", "debug", "preview")


def main(argv: Sequence[str]) -> int:
    """The rank's exit code. Raises WorkerError and whatever the user's own code raises."""
    options = parse(argv)
    run = RunDir(options.run_dir)
    logs.show()
    if options.command == "debug":
        from launcher.worker.debug import debug

        return debug(
            run, steps=options.steps, pdb=options.pdb, anomaly=options.anomaly, gradients=options.gradients,
            batch_size=options.batch_size,
        )  # fmt: skip
    if options.command == "preview":
        from launcher.worker.preview import preview

        return preview(run, out=Path(options.out), samples=options.samples, epoch=options.epoch)
    from launcher.worker.job import read_job
    from launcher.worker.world import counted, joined

    job = read_job(run)

    if options.command == "export":
        from launcher.worker.export import export_run

        return export_run(run, job, to=Path(options.to), checkpoint=options.checkpoint)
    if options.command == "predict":
        from launcher.worker.predict import predict

        return predict(run, job, data=options.data, out=Path(options.out), checkpoint=options.checkpoint)
    if options.command == "eval":
        from launcher.worker.evaluate_run import evaluate_run

        with joined(job) as world:
            return evaluate_run(run, job, world, split=options.split, checkpoint=options.checkpoint, as_json=options.json)
    if job.sweep is not None:
        raise WorkerError(f"{run.job} describes a sweep: start it with 'launch resume {run.path}'", kind="spec")
    from launcher.worker.train import train

    with held(run), joined(job) as world:
        return train(run, job, counted(world, run))


@contextmanager
def held(run: RunDir) -> Iterator[None]:
    """By rank 0 where there is no supervisor to hold it: two trainings never write one run. Raises WorkerError."""
    if supervised() or os.environ.get("RANK", "0") != "0":
        yield
        return
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(run, by="worker"))
        except LaunchError as error:
            raise WorkerError(str(error), kind="environment" if isinstance(error, BackendError) else "spec") from None
        yield


def parse(argv: Sequence[str]) -> argparse.Namespace:
    named = argv if argv and argv[0] in (*COMMANDS, "-h", "--help") else ["train", *argv]
    parser = argparse.ArgumentParser(
        prog="python -m launcher.worker", description="One rank of a run's training.", allow_abbrev=False
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar=f"{{{','.join(COMMANDS)}}}")
    train = commands.add_parser("train", help="train the run to its end, from its newest checkpoint")
    evaluation = commands.add_parser("eval", help="evaluate a checkpoint: the best where keep_best is set, else the newest")
    export = commands.add_parser("export", help="write the trained model as a file for others")
    export.add_argument("--to", metavar="FILE", required=True, help="ends in .safetensors, .pth, .pt2 or .onnx")
    prediction = commands.add_parser("predict", help="write the trained model's outputs for data")
    prediction.add_argument("--out", metavar="FILE", required=True, help="ends in .csv or .npz")
    for command in (evaluation, export, prediction):
        command.add_argument("--checkpoint", metavar="NAME", help="such as step-00000120")
    evaluation.add_argument("--split", choices=("train", "val", "test"), default="val")
    evaluation.add_argument("--json", action="store_true", help="print JSON")
    debugging = commands.add_parser("debug", help="the first steps in this one process, with a table of what they do")
    debugging.add_argument("--steps", type=int, default=None)
    debugging.add_argument("--gradients", action="store_true", help="a table of what the last step did to each parameter")
    debugging.add_argument("--pdb", action="store_true", help="open the debugger where an exception was raised")
    debugging.add_argument("--anomaly", action="store_true", help="name the operation whose gradient is NaN")
    debugging.add_argument("--batch-size", type=int, default=None, metavar="N", help="samples per step")
    previewing = commands.add_parser("preview", help="a picture of training samples as they are and as the network sees them")
    previewing.add_argument("--out", required=True, metavar="FILE", help="a PNG")
    previewing.add_argument("--samples", type=int, default=16)
    previewing.add_argument("--epoch", type=int, default=0)
    for command in (train, evaluation, export, prediction, debugging, previewing):
        command.add_argument("run_dir", metavar="RUN_DIR")
    prediction.add_argument(
        "data", metavar="DATA", help="train, val, test, a .csv, .npz or .safetensors, or a folder of pictures"
    )
    return parser.parse_args(named)


def supervised() -> bool:
    """Whether launcher's agent started this rank: it reports exceptions itself."""
    return rank.FOLDER in os.environ


def leave(code: int) -> NoReturn:
    """With the checkpoint that is being written, but without waiting for torch's threads: it takes half a second, and gloo's can
    abort the process."""
    for thread in threading.enumerate():
        if thread.name == WRITER:
            thread.join()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def print_error(error: BaseException) -> None:
    """As a sentence where it is known what went wrong, else with its traceback."""
    if not isinstance(error, WorkerError):
        traceback.print_exception(error)
        return
    if error.kind == "error" and error.__cause__ is not None:
        traceback.print_exception(error.__cause__)
    print(f"error: {error}", file=sys.stderr)


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
    except Exception as error:
        if supervised():
            # The agent reports what is raised, and shows it by this hook.
            sys.excepthook = lambda _kind, raised, _trace: print_error(raised)
            raise
        print_error(error)
        leave(EXIT_CODES.get(error.kind, 1) if isinstance(error, WorkerError) else 1)
    if supervised():
        sys.exit(code)
    atexit._run_exitfuncs()
    leave(code)
