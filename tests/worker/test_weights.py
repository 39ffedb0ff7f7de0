"""What a training begins with: taken exactly, or refused with every name, before the first step; never read again."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from launcher.events import ledger
from launcher.rundir import RunDir
from launcher.runs import last_row
from launcher.worker.errors import WorkerError
from launcher.worker.fitting import fit
from launcher.worker.weights import begin_with
from launcher.worker.world import World
from tests.worker.test_ema import state_bits
from tests.worker.test_resume import train_with_stops
from tests.worker.worlds import a_job, on_ranks, run_of, train_run

FLAT = {"target": "digits", "flatten": True}
ALONE = World()
JOBS = Path(__file__).parents[2] / "jobs"


def network(classes: int = 5, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, classes))


def trained(classes: int = 5) -> dict[str, Tensor]:
    model = network(classes, seed=1)
    model(torch.randn(20, 6))
    return model.state_dict()


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return run_of(tmp_path / "run", a_job())


def save_as(path: Path, kind: str) -> Path:
    state = trained()
    match kind:
        case "safetensors":
            save_file(state, path.with_suffix(".safetensors"))
            return path.with_suffix(".safetensors")
        case "state_dict.pth":
            torch.save(state, path)
        case "a script's checkpoint":
            torch.save({"epoch": 3, "model": state, "optimizer": {"lr": 0.1}}, path)
        case "of DDP and compiled":
            torch.save({"state_dict": {f"module._orig_mod.{name}": value for name, value in state.items()}}, path)
    return path


@pytest.mark.parametrize("kind", ["safetensors", "state_dict.pth", "a script's checkpoint", "of DDP and compiled"])
def test_a_file_is_taken_exactly(tmp_path: Path, run: RunDir, kind: str) -> None:
    model, file = network(), save_as(tmp_path / "weights.pth", kind)
    begin_with(str(file), run, model, ALONE)
    assert state_bits(model.state_dict()) == state_bits(trained())
    [told] = ledger(run)
    assert (told["event"], told["source"], told["fresh"]) == ("weights", str(file), None)


class Payload:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("executed"),))


@pytest.mark.parametrize("content", ["code", "a whole module", "text", "nothing", "no names", "no file", "a torn safetensors"])
def test_a_file_that_holds_no_plain_weights_is_refused_and_executes_nothing(
    tmp_path: Path, run: RunDir, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / ("weights.safetensors" if "safetensors" in content else "weights.pth")
    match content:
        case "code":
            path.write_bytes(pickle.dumps({"0.weight": Payload()}, protocol=2))
        case "a whole module":
            torch.save(network(), path)
        case "text" | "nothing" | "a torn safetensors":
            path.write_text("weights" * (content != "nothing"))
        case "no names":
            torch.save([torch.ones(3)], path)
    with pytest.raises(WorkerError, match=re.escape(str(path))) as caught:
        begin_with(str(path), run, network(), ALONE)
    assert caught.value.kind == "spec"
    assert "\n" not in str(caught.value)
    assert not Path("executed").exists()


@pytest.mark.parametrize(("change", "words"), [
    ({"3.bias": None}, "Missing there: 3.bias"),
    ({"0.weight": None, "1.running_mean": None}, "Missing there: 0.weight, 1.running_mean"),
    ({"4.weight": torch.ones(2)}, "Not in this model: 4.weight"),
    ({"0.weight": torch.ones(7, 6)}, "Of another shape: 0.weight [7, 6] instead of [8, 6]"),
    ({"3.weight": torch.ones(5, 9)}, "Of another shape: 3.weight [5, 9] instead of [5, 8]"),
    ({"3.bias": None, "5.x": torch.ones(1)}, "Missing there: 3.bias. Not in this model: 5.x"),
])  # fmt: skip
def test_whatever_does_not_fit_is_named(change: dict[str, Tensor | None], words: str) -> None:
    model = network()
    before = state_bits(model.state_dict())
    stored = {name: value for name, value in (trained() | change).items() if value is not None}
    with pytest.raises(WorkerError, match=re.escape(f"w.pth does not fit train.model. {words}")):
        fit(model, stored, "w.pth")
    assert state_bits(model.state_dict()) == before


def test_a_head_of_another_number_of_classes_begins_anew_and_the_rest_is_taken() -> None:
    model, stored = network(3), trained(5)
    fresh = {name: value.clone() for name, value in model.state_dict().items() if name.startswith("3.")}
    told = fit(model, stored, "w.pth")
    assert told == "the head (3.bias, 3.weight), which has 3 outputs where they have 5,"
    expected = {name: value for name, value in stored.items() if not name.startswith("3.")} | fresh
    assert state_bits(model.state_dict()) == state_bits(expected)


def test_older_files_may_lack_the_counter_of_batch_norms() -> None:
    stored = {name: value for name, value in trained().items() if "tracked" not in name}
    assert fit(network(), stored, "w.pth") is None


@pytest.mark.parametrize(("name", "kind", "words"), [
    ("ResNet18_Weights.DEFALT", "spec", "has no weights 'ResNet18_Weights.DEFALT'. Did you mean 'ResNet18_Weights.DEFAULT'?"),
    ("ResNet18_Weights.DEFAULT", "environment", "could not be downloaded: "),
])  # fmt: skip
def test_torchvisions_weights_by_name(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, kind: str, words: str
) -> None:
    def no_network(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    monkeypatch.setattr("torch.hub.urlopen", no_network)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WorkerError, match=re.escape(words)) as caught:
        begin_with(name, run, network(), ALONE)
    assert caught.value.kind == kind


def digits_of(classes: list[int], **fields: Any) -> dict[str, Any]:
    data = {"train": FLAT | {"classes": classes}, "val": FLAT | {"split": "val", "classes": classes}, "batch_size": 100}
    model = {"target": "mlp", "in_features": 64, "hidden": [16], "out_features": len(classes), "batch_norm": True}
    job = a_job(model=model, data=data, metrics=["accuracy"], max_steps=12, **fields)
    return job | {"checkpoint": {"every": "4 steps", "keep_best": "val/accuracy"}, "log": {"plots": False}}


def test_a_run_begins_with_the_best_of_another_and_reads_it_once(tmp_path: Path) -> None:
    base = run_of(tmp_path / "base", digits_of([0, 1, 2, 3, 4], ema={"decay": 0.5}))
    fields: dict[str, Any] = {"weights": str(base.path), "freeze": ["0", "1"]}
    whole, cut = (run_of(tmp_path / name, digits_of([5, 6, 7], **fields)) for name in ("whole", "cut"))
    assert on_ranks(1, train_run, base) == [0]
    assert on_ranks(2, train_run, whole) == [0, 0]
    [told] = [entry for entry in ledger(whole) if entry["event"] == "weights"]
    chosen = base.checkpoints / told["source"].split()[0]
    taken, left = load_file(chosen / "ema.safetensors"), load_file(whole.checkpoints / "step-00000012" / "model.safetensors")
    frozen = {name for name in taken if name.startswith(("0.", "1."))}
    assert {name: state_bits(taken)[name] for name in frozen} == {name: state_bits(left)[name] for name in frozen}
    assert left["3.weight"].shape == (3, 16)

    assert on_ranks(2, train_with_stops, cut, (5,))[0] == [75, 0]
    assert [entry["event"] for entry in ledger(cut)].count("weights") == 1
    assert state_bits(load_file(cut.checkpoints / "step-00000012" / "model.safetensors")) == state_bits(left)


@pytest.mark.parametrize("seed", [17, 1])
def test_fine_tuning_beats_scratch_on_digits_not_seen_before(tmp_path: Path, seed: int) -> None:
    base, tuned = (yaml.safe_load((JOBS / f"{name}.yaml").read_text()) for name in ("transfer-base", "transfer"))
    tuned["train"]["weights"] = str(tmp_path / "base")
    scratch = tuned | {"train": {name: value for name, value in tuned["train"].items() if name != "weights"}}
    reached = []
    for name, job in {"base": base, "tuned": tuned, "scratch": scratch}.items():
        run = run_of(tmp_path / name, job | {"seed": seed, "resources": {"threads": 1, "device": "cpu"}, "log": {"plots": False}})
        assert on_ranks(1, train_run, run) == [0]
        reached.append(last_row(run)["val/accuracy"])
    assert reached[0] > 0.97
    assert reached[1] > max(0.7, reached[2] + 0.1), reached
