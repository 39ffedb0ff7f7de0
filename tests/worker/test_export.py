"""A trained model leaves the run as it is: loaded, exported in four forms, and asked for its outputs, row by row."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

import launcher
from launcher.errors import UsageError
from launcher.rundir import RunDir
from launcher.worker import export
from launcher.worker.__main__ import main
from launcher.worker.data.digits import digits
from launcher.worker.data.images import as_tensor
from launcher.worker.data.new import new_data
from launcher.worker.errors import WorkerError
from launcher.worker.evaluate import evaluate
from launcher.worker.export import compare, told
from launcher.worker.job import read_job
from launcher.worker.predict import joined, one_pass
from launcher.worker.restore import load_model_weights
from launcher.worker.written import write
from tests.worker.worlds import ALONE, a_job, in_world, on_ranks, run_of, train_run

CNN = {"target": "cnn", "in_channels": 1, "channels": [4, 8], "num_classes": 10, "dropout": 0.3}


def trained(folder: Path, **train: Any) -> RunDir:
    run = run_of(folder, a_job(max_steps=4, **train) | {"checkpoint": {"every": "2 steps", "keep_best": "val/loss"}})
    assert on_ranks(1, train_run, run) == [0]
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    data = {"train": "digits", "val": {"target": "digits", "split": "val"}, "batch_size": 100}
    return trained(tmp_path_factory.mktemp("runs") / "run", model=CNN, data=data, ema={"decay": 0.5}, limit_batches=3)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return digits(split="val").tensors[0]


@torch.no_grad()
def outputs(model: nn.Module, inputs: Tensor) -> Tensor:
    return model(inputs)  # type: ignore[no-any-return]


def as_evaluated(training: Any, run: RunDir) -> dict[str, Tensor]:
    newest = max(run.checkpoints.iterdir())
    load_model_weights(newest, training.model)
    evaluate(training, "val")
    return {name: value.clone() for name, value in training.model.state_dict().items()}


def test_a_loaded_model_is_the_trained_one(run: RunDir, images: Tensor) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    model = launcher.load_model(str(run.path), checkpoint="step-00000004")
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(module.training for module in model.modules())
    assert {type(module).__module__.split(".")[0] for module in model.modules()} == {"torch"}
    [state] = on_ranks(1, in_world, [run], as_evaluated)[0]
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    averaged = load_file(run.checkpoints / "step-00000004" / "ema.safetensors")
    assert torch.equal(model.state_dict()["0.weight"], averaged["0.weight"])
    torch.save(model, run.path / "pickled.pth")


@pytest.mark.parametrize(("named", "checkpoint", "words"), [
    ("none", None, "no run 'none'"), ("run", "step-00000077", "has no checkpoint 'step-00000077'"),
])  # fmt: skip
def test_loading_what_is_not_there_is_refused(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, named: str, checkpoint: str | None, words: str
) -> None:
    monkeypatch.setenv("LAUNCHER_RUNS", str(run.path.parent))
    with pytest.raises(UsageError, match=words):
        launcher.load_model(named, checkpoint=checkpoint)


def loaded_again(file: Path, images: Tensor) -> Tensor:
    if file.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: images.numpy()})[0])
    if file.suffix == ".pt2":
        return outputs(torch.export.load(file).module(), images)
    from launcher.worker.models.cnn import cnn

    model = cnn(**{name: value for name, value in CNN.items() if name != "target"})  # type: ignore[arg-type]
    model.load_state_dict(load_file(file) if file.suffix == ".safetensors" else torch.load(file, weights_only=True))
    return outputs(model.eval(), images)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("ending", [".safetensors", ".pth", ".pt2", ".onnx"])
def test_an_exported_model_gives_the_same_outputs_for_any_batch(run: RunDir, images: Tensor, tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"digits{ending}"
    assert main(["export", str(run.path), "--to", str(file)]) == 0
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    model = launcher.load_model(str(run.path))
    for count in (1, 2, 7, 360):
        wanted, found = outputs(model, images[:count]), loaded_again(file, images[:count])
        if ending in (".safetensors", ".pth"):
            assert torch.equal(found, wanted)
        else:
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("ending", [".pt2", ".onnx"])
def test_a_program_with_other_outputs_is_not_written(
    run: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    with pytest.raises(WorkerError, match=f"the {ending} file gives other outputs than the model"):
        main(["export", str(run.path), "--to", str(tmp_path / f"digits{ending}")])
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("found", [1.001, float("nan")])
def test_outputs_are_compared_to_rounding(found: float) -> None:
    ones = torch.ones(3, 2)
    compare(".onnx", ones, [ones * (1 + 1e-6)])
    with pytest.raises(WorkerError, match="other outputs"):
        compare(".onnx", ones, [ones * found])


def test_a_model_that_makes_no_program_is_told_in_the_commands_terms() -> None:
    def untraceable() -> None:
        raise RuntimeError("\ndata-dependent branch\nand more")

    with pytest.raises(WorkerError, match=r"into a \.pt2 file: data-dependent branch\. Its weights can go") as refused:
        told(".pt2", untraceable)
    assert refused.value.kind == "spec"


def test_an_ending_that_says_nothing_is_refused(run: RunDir) -> None:
    with pytest.raises(WorkerError, match=r"says what is written: \.safetensors, \.pth, \.pt, \.pt2, \.onnx"):
        main(["export", str(run.path), "--to", "model.bin"])
    with pytest.raises(WorkerError, match=r"says what is written: \.csv or \.npz"):
        main(["predict", str(run.path), "val", "--out", "rows.txt"])


@pytest.mark.parametrize("count", [1, 99, 100, 101, 250])
def test_predictions_are_one_row_for_each_sample_in_order(run: RunDir, images: Tensor, tmp_path: Path, count: int) -> None:
    np.savez(tmp_path / "new.npz", x=images[:count].numpy())
    for ending in (".npz", ".csv"):
        assert main(["predict", str(run.path), str(tmp_path / "new.npz"), "--out", str(tmp_path / f"rows{ending}")]) == 0
    wanted = outputs(launcher.load_model(str(run.path)), images[:count])
    with np.load(tmp_path / "rows.npz") as found:
        np.testing.assert_allclose(found["output"], wanted.numpy(), rtol=1e-5, atol=1e-6)
        assert found["prediction"].tolist() == wanted.argmax(1).tolist()
        header, *table = csv.reader((tmp_path / "rows.csv").read_text().splitlines())
        assert header == ["prediction", *(f"output_{column}" for column in range(10))]
        assert [[float(value) for value in row[1:]] for row in table] == found["output"].tolist()
        assert [int(row[0]) for row in table] == found["prediction"].tolist()


def test_a_split_of_the_job_can_be_predicted(run: RunDir, images: Tensor, tmp_path: Path) -> None:
    assert main(["predict", str(run.path), "val", "--out", str(tmp_path / "rows.npz")]) == 0
    with np.load(tmp_path / "rows.npz") as found:
        wanted = outputs(launcher.load_model(str(run.path)), images)
        np.testing.assert_allclose(found["output"], wanted.numpy(), rtol=1e-5, atol=1e-6)


def test_pictures_in_a_folder_are_predicted_by_path(run: RunDir, tmp_path: Path) -> None:
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 8, 8), dtype=np.uint8))
    for name, picture in zip(("b/2.png", "a/1.png", "c.png"), pixels, strict=True):
        (tmp_path / "new" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.numpy()).save(tmp_path / "new" / name)
    (tmp_path / "new" / "notes.txt").write_text("no picture")
    grey: dict[str, Any] = {"target": "image_folder", "root": "none", "grayscale": True, "mean": [0.5], "std": [0.25]}
    shown = run_of(tmp_path / "shown", a_job(model=CNN, data={"train": grey, "batch_size": 2, "collate": "pad"}, max_steps=4))
    shown.checkpoints.symlink_to(run.checkpoints)
    assert main(["predict", str(shown.path), str(tmp_path / "new"), "--out", str(tmp_path / "rows.csv")]) == 0
    _, *table = csv.reader((tmp_path / "rows.csv").read_text().splitlines())
    assert [row[0] for row in table] == ["a/1.png", "b/2.png", "c.png"]
    as_the_jobs_own = as_tensor(grayscale=True, mean=[0.5], std=[0.25])
    prepared = torch.stack([as_the_jobs_own(Image.fromarray(pixels[at].numpy()).convert("RGB")) for at in (1, 0, 2)])
    wanted = outputs(launcher.load_model(str(shown.path)), prepared)
    np.testing.assert_allclose([[float(value) for value in row[2:]] for row in table], wanted.numpy(), rtol=1e-5, atol=1e-6)


def test_a_new_table_is_prepared_by_the_training_tables_columns_and_statistics(tmp_path: Path) -> None:
    numbers = np.random.default_rng(1).normal(3, 2, (40, 3)).round(3)
    (tmp_path / "train.csv").write_text("a,y,b\n" + "".join(f"{a},{y},{b}\n" for a, y, b in numbers))
    table = {"target": "csv", "path": str(tmp_path / "train.csv"), "targets": "y", "normalize": True, "split": "train"}
    regression: dict[str, Any] = {
        "model": {"target": "mlp", "in_features": 2, "hidden": [4], "out_features": 1}, "loss": "mse",
        "data": {"train": table, "val": table | {"split": "val"}, "batch_size": 8},
        "precision": "fp64",
    }  # fmt: skip
    run = trained(tmp_path / "run", **regression)
    (tmp_path / "new.csv").write_text("id,b,a\n7,3.5,1\n8,2,4\n")
    assert main(["predict", str(run.path), str(tmp_path / "new.csv"), "--out", str(tmp_path / "rows.csv")]) == 0
    header, *rows = csv.reader((tmp_path / "rows.csv").read_text().splitlines())
    from launcher.worker.data.files import csv as as_set

    raw = as_set(path=str(tmp_path / "train.csv"), targets="y", split="train").tensors[0].double()
    new = (torch.tensor([[1, 3.5], [4, 2]]).double() - raw.mean(0)) / raw.std(0, correction=0)
    wanted = outputs(launcher.load_model(str(run.path)), new)
    assert wanted.dtype == torch.float64
    assert main(["export", str(run.path), "--to", str(tmp_path / "table.pt2")]) == 0
    assert torch.equal(outputs(torch.export.load(tmp_path / "table.pt2").module(), new), wanted)
    assert header == ["output"]
    np.testing.assert_allclose([[float(value) for value in row] for row in rows], wanted.numpy(), rtol=1e-5, atol=1e-6)
    (tmp_path / "new.csv").write_text("id,b\n7,3.5\n")
    with pytest.raises(WorkerError, match="has no column 'a'"):
        main(["predict", str(run.path), str(tmp_path / "new.csv"), "--out", str(tmp_path / "rows.csv")])


def test_a_model_of_several_arguments_gets_the_arrays_of_their_names(run: RunDir, tmp_path: Path) -> None:
    np.savez(tmp_path / "both.npz", b=np.arange(4.0), a=np.arange(4, 8), c=np.zeros(4))
    train = read_job(run).train
    assert train is not None
    found = new_data(train, str(tmp_path / "both.npz"), ("a", "b")).dataset
    assert (len(found), {name: float(value) for name, value in found[1].items()}) == (4, {"a": 5.0, "b": 1.0})


def test_outputs_that_make_no_table_are_refused(run: RunDir) -> None:
    with pytest.raises(WorkerError, match="different shapes, as sequences have"):
        joined([torch.zeros(2, 3), torch.zeros(2, 4)])
    train = read_job(run).train
    assert train is not None
    loader: Any = SimpleNamespace(portions=lambda: [SimpleNamespace(micro=[(torch.zeros(2, 5, 3),)], last=True)])
    with pytest.raises(WorkerError, match="the model gives a tuple"):
        [*one_pass(nn.LSTM(3, 2), ("input",), loader, ALONE, train)]


def test_numbers_that_numpy_has_not_are_written_as_float32(tmp_path: Path) -> None:
    write(tmp_path / "rows.npz", torch.tensor([[1.5], [-2.0]], dtype=torch.bfloat16), classes=None, names=None)
    with np.load(tmp_path / "rows.npz") as found:
        assert (found["output"].dtype, found["output"].tolist()) == (np.float32, [[1.5], [-2.0]])


@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
def test_an_exported_file_is_for_others(run: RunDir, tmp_path: Path, ending: str) -> None:
    """As the umask has it."""
    before = os.umask(0o022)
    try:
        assert main(["export", str(run.path), "--to", str(tmp_path / f"net{ending}")]) == 0
    finally:
        os.umask(before)
    assert (tmp_path / f"net{ending}").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("words", [["export", "--to", "none/net.safetensors"], ["predict", "val", "--out", "none/rows.csv"]])
def test_a_folder_that_is_not_there_is_told_before_the_work(run: RunDir, words: list[str]) -> None:
    with pytest.raises(WorkerError, match="there is no folder none") as told:
        main([words[0], str(run.path), *words[1:]])
    assert told.value.kind == "spec"


def test_files_of_the_folder_are_in_nobodys_way(run: RunDir, tmp_path: Path) -> None:
    """Neither modules with names of the library's, nor a folder with the name of a split."""
    (tmp_path / "val").mkdir()
    for name in ("queue.py", "launcher.py"):
        (tmp_path / name).write_text("raise SystemExit('mine')")
    plan = json.loads(run.plan.read_text()) if run.plan.exists() else {}
    run.plan.write_text(json.dumps({**plan, "entry": {"cwd": str(tmp_path)}}))
    job = run.job.read_text()
    run.job.write_text(re.sub(r"(?m)^workdir: .*$", f"workdir: {tmp_path}", job))
    try:
        of = [run.path.name, "--runs", str(run.path.parent)]
        for words in (["predict", *of, "val", "--out", "rows.npz"], ["eval", *of]):
            done = subprocess.run([sys.executable, "-P", "-m", "launcher", *words], cwd=tmp_path, capture_output=True, text=True)
            assert (done.returncode, "mine" in done.stderr) == (0, False), done.stderr
    finally:
        run.job.write_text(job)
        run.plan.unlink()
    with np.load(tmp_path / "rows.npz") as found:
        assert len(found["output"]) == 360


def test_a_run_whose_folder_is_gone_is_evaluated_all_the_same(run: RunDir, tmp_path: Path) -> None:
    job = run.job.read_text()
    gone = re.sub(r"(?m)^workdir: .*$", f"workdir: {tmp_path / 'gone'}", job)
    run.job.write_text(gone.replace("\nenvironment:\n", "\nenvironment:\n  container: some/image\n"))
    assert "some/image" in run.job.read_text()
    try:
        of = [run.path.name, "--runs", str(run.path.parent)]
        done = subprocess.run([sys.executable, "-m", "launcher", "eval", *of], cwd=tmp_path, capture_output=True, text=True)
    finally:
        run.job.write_text(job)
    assert (done.returncode, "val/loss" in done.stdout) == (0, True), done.stderr


def test_the_commands_write_where_they_are_called(run: RunDir, images: Tensor, tmp_path: Path) -> None:
    """And hand on which checkpoint."""
    np.savez(tmp_path / "new.npz", x=images[:3].numpy())
    of = [str(run.path.name), "--runs", str(run.path.parent), "--checkpoint", "step-00000003"]
    for words in (["export", *of, "--to", "digits.pth"], ["predict", *of, "new.npz", "--out", "rows.npz"]):
        done = subprocess.run([sys.executable, "-m", "launcher", *words], cwd=tmp_path, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
    wanted = outputs(launcher.load_model(str(run.path), checkpoint="step-00000003"), images[:3])
    assert torch.equal(loaded_again(tmp_path / "digits.pth", images[:3]), wanted)
    with np.load(tmp_path / "rows.npz") as found:
        np.testing.assert_allclose(found["output"], wanted.numpy(), rtol=1e-5, atol=1e-6)


def test_data_that_is_nowhere_is_refused(run: RunDir, tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="is none of train, val and test, no"):
        main(["predict", str(run.path), "tset", "--out", str(tmp_path / "rows.csv")])
    with pytest.raises(WorkerError, match=r"the job has no train\.data\.test"):
        main(["predict", str(run.path), "test", "--out", str(tmp_path / "rows.csv")])
