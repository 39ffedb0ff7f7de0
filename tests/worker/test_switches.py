"""compile, channels_last, activation_checkpointing, deterministic, parallel: the same training, otherwise computed."""

from __future__ import annotations

import os
from collections.abc import Callable
from copy import copy
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from launcher.rundir import RunDir
from launcher.worker.compiling import compile_model
from launcher.worker.determinism import CUBLAS, choose_algorithms
from launcher.worker.errors import WorkerError
from launcher.worker.first_batch import remedy
from launcher.worker.memory_format import to_channels_last
from launcher.worker.recompute import blocks, recompute_blocks
from launcher.worker.replicas import Replicas, replicated, warning
from tests.worker.test_failures import error_of
from tests.worker.test_networks import last_weights, network
from tests.worker.test_plain import train_all
from tests.worker.test_resume import STOPS, outcome, train_with_stops
from tests.worker.test_resume import job as described
from tests.worker.worlds import ALONE, a_job, on_ranks, run_of, train_run

MODELS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "mlp": ({"target": "mlp", "in_features": 6, "hidden": [8, 8, 8, 8], "out_features": 3, "dropout": 0.3, "batch_norm": True},
            (5, 6)),
    "cnn": ({"target": "cnn", "in_channels": 2, "channels": [4, 6, 8], "num_classes": 3, "dropout": 0.2}, (5, 2, 8, 8)),
    "gru": ({"target": "gru", "input_size": 6, "hidden_size": 5, "num_layers": 3, "out_features": 3, "dropout": 0.3}, (5, 4, 6)),
    "resnet18": ({"target": "resnet18", "num_classes": 3, "dropout": 0.3}, (3, 3, 32, 32)),
    "densenet121": ({"target": "densenet121", "num_classes": 3}, (3, 3, 32, 32)),
    "swin_t": ({"target": "swin_t", "num_classes": 3}, (2, 3, 32, 32)),
}  # fmt: skip


def gradients(model: nn.Module, batch: Tensor) -> dict[str, Tensor]:
    torch.manual_seed(1)
    model(batch).square().mean().backward()
    named = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    return named | {f"{name} afterwards": value for name, value in model.state_dict().items()}


LARGE = ("densenet121", "swin_t")


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.long) if name in LARGE else name for name in MODELS])
def test_blocks_computed_anew_give_the_same_gradient_and_statistics(name: str) -> None:
    target, shape = MODELS[name]
    batch = torch.randn(shape, generator=torch.Generator().manual_seed(5))
    expected = gradients(network(**target), batch)
    model = network(**target)
    recompute_blocks(model)
    calls: list[nn.Module] = []
    for module in model.modules():
        module.register_forward_hook(lambda module, *_: calls.append(module))
    found = gradients(model, batch)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], value) for key, value in expected.items())
    assert len(calls) > len(set(calls))
    model.eval()
    assert torch.equal(model(batch), model(batch))


@pytest.mark.parametrize(("name", "whole", "chains"), [("mlp", 0, 1), ("gru", 3, 0), ("resnet18", 8, 0), ("swin_t", 16, 0)])
def test_blocks_are_found(name: str, whole: int, chains: int) -> None:
    found = blocks(network(**MODELS[name][0]))
    assert (len(found[0]) >= whole, len(found[0]) <= whole + 4, len(found[1])) == (True, True, chains)


def test_a_model_without_blocks_is_refused() -> None:
    with pytest.raises(WorkerError, match=r"train\.activation_checkpointing: train\.model has no blocks") as told:
        recompute_blocks(nn.Linear(2, 2))
    assert told.value.kind == "spec"


IMAGES = {"data": {"train": {"target": "digits"}, "batch_size": 300}, "max_steps": 3}
CNN = {"target": "cnn", "in_channels": 1, "channels": [4, 6, 8], "num_classes": 10, "dropout": 0.2}


def test_two_ranks_train_alike_with_blocks_computed_anew(tmp_path: Path) -> None:
    runs = [run_of(tmp_path / str(way), a_job(model=CNN, activation_checkpointing=way, **IMAGES)) for way in (False, True)]
    assert on_ranks(2, train_all, runs) == [[0, 0]] * 2
    one, other = map(last_weights, runs)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_channels_last_lays_out_weights_and_images_and_changes_no_result() -> None:
    colours = CNN | {"in_channels": 3}
    plain, model = network(**colours), network(**colours)
    to_channels_last(model)
    seen: list[Tensor] = []
    model[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))  # type: ignore[index, operator, union-attr]
    images = torch.randn(4, 3, 8, 8)
    output = model.eval()(images)
    assert model[4].weight.is_contiguous(memory_format=torch.channels_last)  # type: ignore[index, operator, union-attr]
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(output, plain.eval()(images), atol=1e-5)


class Putting(nn.Module):
    """An operation that has no deterministic algorithm."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)

    def forward(self, features: Tensor) -> Tensor:
        output = self.linear(features)
        return output + torch.zeros_like(output).put_(torch.tensor([0]), torch.ones(1))  # type: ignore[no-any-return]


def ends(run: RunDir) -> tuple[Any, str | None]:
    try:
        return error_of(run), os.environ.get(CUBLAS)
    except RuntimeError as error:  # at a line of the user's own, where it stays what it is
        return error, None


def test_deterministic_chooses_algorithms_and_an_operation_without_ends_the_training(tmp_path: Path) -> None:
    fine, bad = (run_of(tmp_path / name, a_job(deterministic=True, max_steps=1, **model)) for name, model in
                 (("fine", {}), ("bad", {"model": "test_switches:Putting"})))  # fmt: skip
    assert on_ranks(1, ends, fine) == [(0, ":4096:8")]
    [(refused, _)] = on_ranks(1, ends, bad)
    assert str(refused).startswith("put_ does not have a deterministic implementation")
    assert remedy(refused) == " Write train.deterministic: false, or take another layer or loss in its place."


def test_it_is_undone_for_the_next_training() -> None:
    choose_algorithms(deterministic=True)
    assert torch.backends.cudnn.deterministic
    choose_algorithms(deterministic=False)
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.deterministic


def compiled(folder: Path, function: Callable[..., Any], *arguments: Any) -> Any:
    """On a rank, with kernels in a folder of its own."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
    import contextlib
    import io

    with contextlib.redirect_stdout(io.StringIO()) as printed:
        outcome = function(*arguments)
    return outcome, printed.getvalue()


def without_compiler(run: RunDir) -> int:
    import torch._inductor.config

    torch._inductor.config.cpp.cxx = ("/no/such/compiler",)
    return train_run(run)


def test_without_a_compiler_it_trains_all_the_same_and_says_why(tmp_path: Path) -> None:
    run, plain = (run_of(tmp_path / name, a_job(compile=name == "run", max_steps=2)) for name in ("run", "plain"))
    [(code, printed)] = on_ranks(1, compiled, tmp_path / "kernels", without_compiler, run)
    assert code == 0
    assert "train.compile: part of the model runs without being compiled: " in printed
    assert "compiler" in printed
    assert on_ranks(1, train_run, plain) == [0]
    assert all(torch.equal(last_weights(run)[name], value) for name, value in last_weights(plain).items())


def compilers_on_one_core() -> int:
    import torch._inductor.config

    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    compile_model(torch.nn.Linear(1, 1))
    return torch._inductor.config.compile_threads


def test_a_rank_kept_to_one_core_compiles_in_one_process() -> None:
    assert on_ranks(1, compilers_on_one_core) == [1]


MLP = {"target": "mlp", "in_features": 64, "hidden": [16], "out_features": 10}
COMPILING_MAY_TAKE_S = 700


@pytest.mark.parametrize("train", [
    {"model": MLP},
    pytest.param({"model": MLP | {"dropout": 0.2, "batch_norm": True}, "activation_checkpointing": True}, marks=pytest.mark.long),
    pytest.param({"model": CNN, "channels_last": True, **IMAGES}, marks=pytest.mark.long),
])  # fmt: skip
@pytest.mark.parametrize("world_size", [1, pytest.param(2, marks=pytest.mark.long)])
def test_compiled_it_trains_alike(tmp_path: Path, train: dict[str, Any], world_size: int) -> None:
    exact = train | {"precision": "fp64", "max_steps": 3}
    plain, run = (run_of(tmp_path / str(way), a_job(**exact, compile=way)) for way in (False, True))
    outcome = on_ranks(world_size, compiled, tmp_path / "kernels", train_all, [plain, run], may_take_s=COMPILING_MAY_TAKE_S)
    assert [codes for codes, _ in outcome] == [[0, 0]] * world_size
    assert all("without being compiled" not in printed for _, printed in outcome)
    if not train["model"].get("dropout"):  # compiled, it draws other masks
        one, other = last_weights(plain), last_weights(run)
        assert max(float((one[name] - other[name]).abs().max()) for name in one) <= 1e-10


@pytest.mark.long
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("world_size", [1, 2])
def test_compiled_and_stopped_again_and_again_it_ends_the_same(tmp_path: Path, world_size: int) -> None:
    undisturbed, disturbed = (run_of(tmp_path / name, described(compile=True)) for name in ("undisturbed", "disturbed"))
    on_ranks(world_size, compiled, tmp_path / "kernels", train_run, undisturbed, may_take_s=COMPILING_MAY_TAKE_S)
    codes = on_ranks(
        world_size, compiled, tmp_path / "others", train_with_stops, disturbed, STOPS, may_take_s=COMPILING_MAY_TAKE_S
    )
    assert [each for each, _ in codes] == [[75, 75, 75, 0]] * world_size
    assert outcome(disturbed) == outcome(undisturbed)


def test_ranks_that_nobody_asked_for_are_refused_before_the_first_step(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", a_job(parallel="none"))
    for error in on_ranks(2, error_of, run):
        assert error.kind == "spec"
        assert "trains in one process, and there are 2 ranks" in str(error)


def test_data_parallel_on_several_gpus_is_warned_of_with_reason_and_remedy() -> None:
    told = warning(4, batch_norm=True)
    assert "data_parallel drives 4 GPUs from one process: the model is copied to each of them in every step" in told
    assert "batch norm's running statistics are those of the first GPU's share" in told
    assert "Write parallel: ddp and resources: {procs_per_node: auto}" in told
    assert "batch norm" not in warning(4, batch_norm=False)


def test_on_one_device_it_is_the_model_itself() -> None:
    model = nn.Linear(2, 2)
    assert replicated(None, model, ALONE) is model  # type: ignore[arg-type]


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_replicas_have_the_gradient_of_the_whole_batch_and_masks_of_their_own() -> None:
    model = network(**MODELS["mlp"][0] | {"dropout": 0.0, "batch_norm": False}).cuda()
    batch = torch.randn(8, 6, device="cuda")
    expected = gradients(model, batch)
    model.zero_grad()
    found = gradients(Replicas(model, Accelerator()), batch)
    assert all(torch.allclose(found[f"module.{name}"], value, atol=1e-6) for name, value in expected.items())


class Precisions(nn.Linear):
    """Notes what its copies compute in."""

    def __init__(self) -> None:
        super().__init__(6, 3)
        self.found: list[torch.dtype] = []  # one list for all copies

    def forward(self, batch: Tensor) -> Tensor:
        output = super().forward(batch)
        self.found.append(output.dtype)
        return output


def in_threads(precision: str) -> list[torch.dtype]:
    """What copies compute in where torch has started threads for them; on the CPU a copy is not of parameters."""
    nn.DataParallel.replicate = lambda _, module, devices: [copy(module) for _ in devices]  # type: ignore[method-assign]
    accelerator, model = Accelerator(cpu=True, mixed_precision=precision), Precisions()
    copies = Replicas(accelerator.prepare_model(model), accelerator).replicate(model, [0, 1])
    threads = [Thread(target=each, args=(torch.ones(2, 6),)) for each in copies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return model.found


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("no", torch.float32)])
def test_replicas_compute_in_the_jobs_precision(precision: str, dtype: torch.dtype) -> None:
    assert on_ranks(1, in_threads, precision) == [[dtype, dtype]]


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_replicas_on_gpus_compute_in_bf16() -> None:
    accelerator, model = Accelerator(mixed_precision="bf16"), Precisions().cuda()
    output = Replicas(accelerator.prepare_model(model), accelerator)(torch.ones(8, 6, device="cuda"))
    assert (output.dtype, set(model.found)) == (torch.float32, {torch.bfloat16})
