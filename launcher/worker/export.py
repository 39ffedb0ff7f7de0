"""`export`: a run's model as a file for others.

.safetensors, .pth   its state_dict
.pt2                 the program that torch.export makes of it: torch.export.load(FILE).module()
.onnx                the same for other runtimes

The size of a batch stays free. A program is run once on samples of the job's data, and has to give the model's outputs.
"""

from __future__ import annotations

import inspect
import logging
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from launcher.rundir import RunDir
from launcher.spec import Job
from launcher.worker.data.nested import mapped, on_device, tensors
from launcher.worker.data.splits import make_dataset, make_loader
from launcher.worker.errors import WorkerError
from launcher.worker.predict import unaltered
from launcher.worker.tensor_file import HostCopy, write
from launcher.worker.trained import trained_model
from launcher.worker.world import CPU, World
from launcher.worker.written import refuse_missing_folder, whole

SAMPLES = 3
"""Of an example: torch.export takes sizes 0 and 1 for constants."""
TOLERANCE = 1e-4
"""Of outputs of another runtime, relative to the largest."""


def export_run(run: RunDir, job: Job, *, to: Path, checkpoint: str | None) -> int:
    """Raises WorkerError."""
    writes = writer(to)
    refuse_missing_folder(to)
    model = trained_model(run, job, checkpoint, CPU)
    with whole(to) as aside:
        writes(model, run, job, aside)
    print(f"{to}: {type(model).__name__} of {run.id}, {to.stat().st_size:,} bytes")
    return 0


Writer = Callable[[nn.Module, RunDir, Job, Path], None]


def writer(to: Path) -> Writer:
    """Raises WorkerError for an ending that says nothing."""
    known: dict[str, Writer] = {
        ".safetensors": safetensors, ".pth": state_dict, ".pt": state_dict, ".pt2": program, ".onnx": onnx,
    }  # fmt: skip
    if to.suffix not in known:
        raise WorkerError(f"--to {to}: the name's ending says what is written: {', '.join(known)}", kind="spec")
    return known[to.suffix]


def safetensors(model: nn.Module, _run: RunDir, _job: Job, path: Path) -> None:
    copy = HostCopy(pinned=False)
    copy.take({name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)})
    write(path, copy.chunks())


def state_dict(model: nn.Module, _run: RunDir, _job: Job, path: Path) -> None:
    to_disk(lambda: torch.save(model.state_dict(), path))


def program(model: nn.Module, run: RunDir, job: Job, path: Path) -> None:
    arguments, sizes = example(model, run, job)
    positional, named = called(model, arguments)
    exported = told(".pt2", lambda: torch.export.export(model, positional, named, dynamic_shapes=sizes))
    compare(".pt2", model(**arguments), exported.module()(*positional, **named))
    to_disk(lambda: torch.export.save(exported, path))


def onnx(model: nn.Module, run: RunDir, job: Job, path: Path) -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise WorkerError(
            f"an .onnx file needs the package {error.name}: pip install onnx onnxscript", kind="environment"
        ) from None
    arguments, sizes = example(model, run, job)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    positional, named = called(model, arguments)
    made = told(".onnx", lambda: torch.onnx.export(
        model, positional, kwargs=named, dynamic_shapes=sizes, dynamo=True, verbose=False, output_names=["output"],
    ))  # fmt: skip
    assert made is not None
    made.save(path, external_data=False)
    check_onnx(path, model(**arguments), arguments)


def to_disk(save: Callable[[], None]) -> None:
    """Raises OSError: torch says RuntimeError where the disk is full."""
    try:
        save()
    except RuntimeError as error:
        if not re.search(r"PytorchStreamWriter|inline_container|unexpected pos", str(error)):
            raise
        raise OSError(str(error).splitlines()[0]) from None


def called(model: nn.Module, arguments: Mapping[str, Tensor]) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    """By position where they are the model's first ones: the program is then called as the model is."""
    names = [*inspect.signature(model.forward).parameters][: len(arguments)]
    return (tuple(arguments.values()), {}) if names == [*arguments] else ((), dict(arguments))


def check_onnx(path: Path, output: Any, arguments: Mapping[str, Tensor]) -> None:
    """Where onnxruntime is installed. Raises WorkerError."""
    try:
        import onnxruntime
    except ImportError:
        return
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    wanted = {each.name for each in session.get_inputs()}
    found = session.run(None, {name: value.numpy() for name, value in arguments.items() if name in wanted})
    compare(".onnx", output, [torch.from_numpy(each) for each in found])


def example(model: nn.Module, run: RunDir, job: Job) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Some samples as the model's keyword arguments, and which of their sizes is that of the batch."""
    assert job.train is not None
    split = "val" if job.train.data.val is not None else "train"
    loader = make_loader(make_dataset(job.train, split), "val", unaltered(job.train), job.seed, run, World())
    batch = on_device(loader.some(SAMPLES), CPU, torch.float64 if job.train.precision == "fp64" else None)
    names = tuple(inspect.signature(model.forward).parameters)
    given = {name: batch[name] for name in names if name in batch} if isinstance(batch, Mapping) else {names[0]: batch[0]}
    free = torch.export.Dim.DYNAMIC
    return given, mapped(given, lambda tensor: {0: free} if tensor.ndim and len(tensor) == SAMPLES else None)  # type: ignore[arg-type, return-value]


def told(ending: str, make: Callable[[], Any]) -> Any:
    """Raises WorkerError for what torch cannot turn into a program."""
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            return make()
    except Exception as error:
        first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise WorkerError(
            f"torch.export could not follow this model into a {ending} file: {first}. Its weights can go into a .safetensors or "
            ".pth file",
            kind="spec",
        ) from error


def compare(ending: str, wanted: Any, found: Any) -> None:
    """Raises WorkerError where the outputs differ by more than rounding."""
    for one, other in zip(tensors(wanted), tensors(found), strict=True):
        off = (one.double() - other.double()).abs().max().item() if one.numel() else 0.0
        if not off <= TOLERANCE * max(1.0, one.double().abs().max().item()):
            raise WorkerError(
                f"the {ending} file gives other outputs than the model, by up to {off:.3g}: nothing is written", kind="error"
            )
