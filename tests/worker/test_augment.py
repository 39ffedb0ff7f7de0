"""Augmentation: the same pixels and targets for a sample at any world size, micro-batch and number of loader processes."""

from __future__ import annotations

from itertools import islice
from typing import Annotated, Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor
from torch.utils.data import TensorDataset
from torchvision.transforms import v2

from launcher.spec.catalogue import CATALOGUE
from launcher.spec.data import AugmentTarget
from launcher.spec.target import Of
from launcher.worker.data.augment import make_augment, minority
from launcher.worker.data.fetch import Fetch
from launcher.worker.data.loader import MapLoader, Reading
from launcher.worker.data.order import Order
from launcher.worker.data.portions import Cut, Epochs
from launcher.worker.data.sampling import make_sampling
from launcher.worker.errors import WorkerError
from launcher.worker.randomness import seed_default_generators
from tests.worker import sets
from tests.worker.sets import pictures

NAMES = [name for kind, name in CATALOGUE if kind == "augment"]
NEEDED: dict[str, dict[str, Any]] = {
    "random_crop": {"size": 8, "padding": 2}, "random_resized_crop": {"size": 8}, "random_rotation": {"degrees": 30.0},
    "random_affine": {"degrees": [-5.0, 5.0], "translate": [0.2, 0.1], "scale": [0.8, 1.2], "shear": 5.0},
    "color_jitter": {"brightness": 0.4, "hue": [-0.1, 0.1]}, "elastic_transform": {"alpha": 20.0, "sigma": 0.8},
    "random_erasing": {"p": 1.0, "value": "random"},
}  # fmt: skip
AS_IN_A_JOB: TypeAdapter[AugmentTarget] = TypeAdapter(Annotated[AugmentTarget, Of("augment", beside=AugmentTarget)])


def step(name: str, **arguments: Any) -> AugmentTarget:
    """As a job has it: with every default."""
    return AS_IN_A_JOB.validate_python({"target": name, **NEEDED.get(name, {}), **arguments})


def loader(steps: list[AugmentTarget], *, rank: int = 0, world_size: int = 1, micro: int = 50, workers: int = 0,
           dataset: Any = None, sampling: str | None = None) -> MapLoader:  # fmt: skip
    dataset = dataset or pictures()
    fetch = Fetch(dataset, 7, rank, "train.data.train", make_augment(steps, dataset))
    fetch.order = order = make_sampling(AugmentTarget(target=sampling), dataset, 7) if sampling else Order(len(dataset), 7)
    fetch.by_position = sampling is not None
    cut = Cut(batch_size=10, micro_batch_size=micro, rank=rank, world_size=world_size)
    return MapLoader(fetch=fetch, epochs=Epochs(order=order, cut=cut), reading=Reading(num_workers=workers))


def read(loaders: list[MapLoader], batches: int = 7) -> tuple[Tensor, Tensor]:
    """Of all ranks, in the order of samples."""
    parts = [list(islice(each.portions(), batches)) for each in loaders]
    micro = [batch for portions in zip(*parts, strict=True) for portion in portions for batch in portion.micro]
    return torch.cat([batch[0] for batch in micro]), torch.cat([batch[1] for batch in micro])


@pytest.mark.parametrize("name", NAMES)
def test_pixels_and_targets_are_a_function_of_seed_epoch_and_sample(name: str) -> None:
    steps = [step("random_horizontal_flip"), step(name)]
    images, targets = read([loader(steps)])
    cut_otherwise = read([loader(steps, rank=rank, world_size=3, micro=2) for rank in range(3)])
    assert torch.equal(images, cut_otherwise[0])
    assert torch.equal(targets, cut_otherwise[1])
    assert images.isfinite().all()
    assert images.dtype == torch.float32
    plain = read([loader([step("random_horizontal_flip")])])[0]
    assert not torch.equal(images, plain), "it changes nothing"


@pytest.mark.parametrize("sampling", [None, "oversample"])
def test_loader_processes_and_later_starts_change_nothing(sampling: str | None) -> None:
    steps, dataset = [step("noise"), step("mixup", alpha=0.4), step("cutmix")], pictures(classes=4)
    alone, read_by_two = (read([loader(steps, dataset=dataset, workers=workers, sampling=sampling)]) for workers in (0, 2))
    assert torch.equal(alone[0], read_by_two[0])
    assert torch.equal(alone[1], read_by_two[1])
    anew = loader(steps, dataset=dataset, sampling=sampling)
    later, walked = next(anew.portions(1, 1)), next(islice(anew.portions(), anew.epochs.steps + 1, None))
    assert torch.equal(later.micro[0][0], walked.micro[0][0])


def test_each_draw_of_a_sample_is_changed_anew() -> None:
    one_rare = TensorDataset(torch.zeros(31, 2), torch.tensor([0] * 30 + [1]))
    images, targets = read([loader([step("noise")], dataset=one_rare, sampling="oversample")], batches=6)
    rare = images[targets == 1]
    assert len(rare) == len(rare.unique(dim=0)) == 30


@pytest.mark.parametrize(("name", "theirs"), [
    ("random_crop", v2.RandomCrop(8, padding=2)), ("random_affine", v2.RandomAffine((-5, 5), (0.2, 0.1), (0.8, 1.2), 5)),
    ("auto_augment", v2.AutoAugment()), ("trivial_augment_wide", v2.TrivialAugmentWide()),
    ("random_resized_crop", v2.RandomResizedCrop(8)),
])  # fmt: skip
def test_they_are_torchvisions(name: str, theirs: Any) -> None:
    (ours,), image = make_augment([step(name)], pictures()), pictures()[3][0]
    seed_default_generators(5)
    changed = ours((image, 1), lambda: None)[0]
    seed_default_generators(5)
    assert torch.equal(changed, theirs(image))


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_mixed_targets_are_the_shares_of_what_is_mixed(name: str) -> None:
    classes = torch.arange(30) % 3
    flat = TensorDataset(torch.eye(3)[classes][:, :, None, None].repeat(1, 1, 8, 8), classes)
    images, targets = read([loader([step(name)], dataset=flat)])
    torch.testing.assert_close(images.mean((2, 3)), targets)
    assert ((targets > 0).sum(1) == 2).float().mean() > 0.4
    torch.testing.assert_close(targets.sum(1), torch.ones(len(targets)))
    some = read([loader([step(name, p=0.25)], dataset=flat)])[1]
    assert 0.03 < ((some > 0).sum(1) == 2).float().mean() < 0.35


def test_partners_come_from_the_whole_epoch_in_its_distribution() -> None:
    few = TensorDataset(torch.zeros(100, 1), torch.tensor([0] * 90 + [1] * 10))
    targets = read([loader([step("mixup", alpha=1.0)], dataset=few, sampling="balanced")], batches=30)[1]
    assert targets.mean(0).tolist() == pytest.approx([0.5, 0.5], abs=0.06)


def test_a_step_for_some_classes_leaves_the_others_as_they_are() -> None:
    dataset = TensorDataset(torch.zeros(30, 2), torch.tensor([0] * 12 + [1] * 14 + [2] * 4))
    assert minority(dataset, "x") == {2}
    images, targets = read([loader([step("noise", minority=True)], dataset=dataset)], batches=3)
    assert ((images != 0).any(1) == (targets == 2)).all()
    images, targets = read([loader([step("noise", classes=[0, 1])], dataset=dataset)], batches=3)
    assert ((images != 0).any(1) == (targets != 2)).all()
    soft = read([loader([step("mixup", classes=[2])], dataset=dataset)], batches=3)[1]
    assert soft.shape == (30, 3)
    assert ((soft == 1).any(1)).sum() >= 26


def test_mappings_are_augmented_at_their_input() -> None:
    fetch = Fetch(sets.Mappings(10), 0, 0, "x", make_augment([step("noise")], sets.Mappings(10)))
    plain, noisy = Fetch(sets.Mappings(10), 0, 0, "x").item(0, 3), fetch.item(0, 3)
    assert not torch.equal(plain["features"], noisy["features"])
    assert (noisy["sample"], noisy["target"]) == (3, 3)


@pytest.mark.parametrize(("steps", "dataset", "told"), [
    ([step("color_jitter", brightness=0.5)], TensorDataset(torch.full((30, 3, 8, 8), -2.0), torch.zeros(30).long()),
     "color_jitter takes pixels from 0 to 1, and these go from -2 to -2. Write normalize: false"),
    ([step("mixup")], sets.numbers(samples=30), "a target is float32 of shape"),
    ([step("mixup")], sets.Stream(), "takes a second sample by its number, and iterable data have none"),
    ([step("cutmix")], sets.classes(samples=30), "cutmix wants images"),
    ([step("mixup", num_classes=2)], pictures(), "mixup and cutmix mix classes from 0 to 1, and a target is 2"),
    ([step("noise", minority=True)], pictures(), "all 3 classes are equally frequent"),
    ([step("mixup"), step("noise", classes=[1])], pictures(), "a step that mixes samples comes last"),
])  # fmt: skip
def test_what_does_not_go_together_is_told(steps: list[AugmentTarget], dataset: Any, told: str) -> None:
    with pytest.raises(WorkerError, match=told) as refused:
        read([loader(steps, dataset=dataset)], batches=3)
    assert refused.value.kind == "spec"
