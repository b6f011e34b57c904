"""What the door of the platform lets in, and what it says of the rest before a run begins."""

from __future__ import annotations

import pickle
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from generated_data import write_tree
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

from experiments.config.compose import load_config
from experiments.config.schema import Config
from experiments.data import Datasets, Sampling, TrainLoader, load_datasets
from experiments.data.admit import SAMPLE, admit
from experiments.data.containers import TensorImages, in_memory, labels_of
from experiments.errors import ConfigError, DataError
from experiments.tasks.base import create_task


def config(*overrides: str) -> Config:
    return load_config("cifar", ["data=digits", "augment=none", "trainer.batch_size=4", *overrides])


def noise(seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, 8, 8), generator=generator, dtype=torch.uint8)


def items(count: int = 12, labels: Sequence = (0, 1), images=noise) -> list:
    return [(images(i), labels[i % len(labels)]) for i in range(count)]


def three(train=None, validation=None, test=None) -> tuple:
    given = (train, validation, test)
    return tuple(items() if part is None else part for part in given)


def enter(splits, *overrides: str):
    """As a run does: through the door, then to the task."""
    cfg = config(*overrides)
    data = admit(splits, cfg)
    return data, create_task(cfg, data)


class Own(Dataset):
    """A dataset of one's own, which counts what is read."""

    def __init__(self, content: list, **offered) -> None:
        self.content, self.read = content, []
        self.__dict__.update(offered)

    def __len__(self) -> int:
        return len(self.content)

    def __getitem__(self, index: int):
        self.read.append(index)
        return self.content[index]


# ------------------------------------------------------------------------------------- the splits
@pytest.mark.parametrize(
    ("splits", "said"),
    [
        (three(train=[]), "train split has no images"),
        (three(validation=[]), r"validation split has no images: .*data.validation_fraction"),
        (three(test=[]), r"test split has no images: .*test/<class>"),
        (three()[:2], r"returned 2 values; .*complete_splits"),
        (items(), r"returned 12 values"),
        (three(test=DataLoader(items())), r"test split is a DataLoader.*loader.dataset"),
        (three(test=iter(items())), r"test split is list_iterator.*__getitem__"),
        (three(train=[noise()] * 12), r"train image 0 .*\(image, label\)"),
    ],
)
def test_splits_that_cannot_be_used_are_refused(splits, said: str) -> None:
    with pytest.raises(DataError, match=said):
        admit(splits, config())


def test_a_batch_larger_than_the_data_is_refused_at_the_door() -> None:
    with pytest.raises(ConfigError, match=r"batch_size=16: there are only 12.*batch_size=12"):
        admit(three(), config("trainer.batch_size=16"))
    with pytest.raises(ConfigError, match=r"overfit_batches=4: 12 training images make 3"):
        admit(three(), config("trainer.overfit_batches=4"))


def test_images_in_memory_are_neither_copied_nor_changed() -> None:
    splits = load_datasets(config().data)
    data = admit(splits, config())
    held, indices = in_memory(data.train)
    assert held.images is splits.train.base.images
    assert np.array_equal(indices, splits.train.indices)
    assert np.array_equal(labels_of(data.test), labels_of(splits.test))


def test_of_a_large_dataset_64_images_are_read() -> None:
    own = Own(items(1000), targets=[0, 1] * 500)
    admit(three(train=own), config())
    assert len(set(own.read)) == SAMPLE and {0, 999} <= set(own.read)


# ------------------------------------------------------------------------------------- the pixels
def test_pixels_of_unknown_range_are_named_with_split_and_index() -> None:
    wrong = items(images=lambda i: noise(i).float() / 255 * (1 + 254 * (i == 7)))
    with pytest.raises(DataError, match=r"test image 7 \(image 7 of list\) .*image / 255"):
        admit(three(test=wrong), config())


def test_an_image_beyond_the_sample_is_refused_when_it_is_loaded() -> None:
    wrong = items(3000, images=lambda i: noise(i).long() if i == 1 else noise(i))
    data, task = enter(three(train=wrong))
    loader = TrainLoader(
        data.train,
        task.recipe(True),
        batch_size=4,
        accumulation=1,
        sampling=Sampling.of(0),
        rank=0,
        world_size=1,
    )
    with pytest.raises(DataError, match=r"train image 1 \(.*\) is int64"):
        list(loader.epoch(0))


def test_floats_in_memory_are_checked_to_the_last_image() -> None:
    images = torch.rand(3000, 1, 4, 4)
    images[2042, 0, 1, 1] = torch.nan
    held = TensorImages(images, torch.arange(3000) % 2, ["a", "b"])
    with pytest.raises(DataError, match=r"train image 2042 .* 1 of 16 values NaN"):
        admit(three(train=held), config())


@pytest.mark.parametrize("dtype", [torch.uint16, torch.float16, torch.float64])
def test_other_types_in_memory_pass_as_single_images(dtype) -> None:
    scale = 4095 if dtype == torch.uint16 else 1
    images = (torch.rand(20, 1, 8, 8) * scale).to(dtype)
    held = TensorImages(images, torch.arange(20) % 2, ["a", "b"])
    data, task = enter(three(held, held, held))
    assert in_memory(data.train) is None and data.train[0][0].dtype == torch.float32
    batch = torch.stack([task.recipe(False).prepare(*data.train[i])[0] for i in range(20)])
    normalised, _ = task.recipe(False).finish(batch, torch.zeros(20).long())
    assert normalised.std() == pytest.approx(1, abs=0.01)
    assert len(torch.unique(normalised)) > 256


def test_a_batch_of_mixed_depth_has_one_scale() -> None:
    mixed = items(images=lambda i: noise(i) if i % 2 else noise(i).float() / 255)
    data, task = enter(three(mixed, mixed, mixed))
    recipe = task.recipe(False)
    batch, _ = recipe.collate([recipe.prepare(*data.train[i]) for i in range(12)])
    expected = torch.stack([noise(i) for i in range(12)]).double() / 255
    assert batch.dtype == torch.float32 and torch.allclose(batch.double(), expected, atol=1e-7)


@pytest.mark.parametrize("policy", ["auto_augment", "random_augment"])
def test_policies_of_8_bits_refuse_deeper_images(policy: str) -> None:
    deep = items(images=lambda i: (noise(i).int() * 16 + i).to(torch.uint16))
    with pytest.raises(ConfigError, match=rf"augment.policy='{policy}'.*torch.uint8"):
        enter(three(deep, deep, deep), f"augment.policy={policy}")
    late = items(3000, images=lambda i: deep[1][0] if i == 1 else noise(i))
    data, task = enter(three(train=late), f"augment.policy={policy}")
    with pytest.raises(DataError, match="more than 8 bits"):
        task.recipe(True).prepare(*data.train[1])
    floats = items(images=lambda i: noise(i).float() / 255)  # 8 bits in another type
    enter(three(floats, floats, floats), f"augment.policy={policy}")


@pytest.mark.parametrize("where", ["items", "memory"])
def test_constant_pixels_are_told_once(where: str, caplog) -> None:
    def image(i: int) -> torch.Tensor:
        made = noise(i)
        made[1] = 7
        return made

    content = items(images=image)
    if where == "memory":
        pixels = torch.stack([image for image, _ in content])
        content = TensorImages(pixels, torch.arange(12) % 2, ["a", "b"])
    admit(three(train=content), config())
    assert caplog.records[0].getMessage().startswith("train: all pixels of channel 1 ")
    caplog.clear()
    admit(three(train=items(images=lambda i: torch.zeros(1, 4, 4))), config())
    assert "train: all pixels have one value (0)" in caplog.text and len(caplog.records) == 1
    caplog.clear()
    admit(three(), config())
    assert not caplog.records


@pytest.mark.parametrize(("shade", "lost"), [(255, "white"), (0, "black")])
def test_a_shape_in_transparency_alone_is_never_lost(shade: int, lost: str) -> None:
    def image(i: int) -> Image.Image:
        made = Image.new("L", (8, 8), shade)
        made.putalpha(Image.fromarray(noise(i)[0].numpy()))
        return made

    pictures = three(*[items(images=image)] * 3)
    kept = "black" if lost == "white" else "white"
    with pytest.raises(DataError, match=rf"data.alpha={lost}: .*use data.alpha={kept}"):
        admit(pictures, config(f"data.alpha={lost}"))
    assert enter(pictures, f"data.alpha={kept}")[1].info.channels == 1
    assert enter(pictures, "data.alpha=keep")[1].info.channels == 2


def test_a_folder_of_turned_pictures_has_the_turned_size(tmp_path) -> None:
    exif = Image.Exif()
    exif[0x112] = 6
    write_tree(tmp_path, ["train", "test"], size=(16, 8))
    for path in tmp_path.glob("*/*/*.png"):
        if path.stem == "001":
            Image.open(path).transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    cfg = config("data=folder", f"data.root={tmp_path}", "data.image_size=8")
    data = admit(load_datasets(cfg.data), cfg)
    assert {data.test[i][0].size for i in range(len(data.test))} == {(16, 8)}


# ------------------------------------------------------------------------------------- the labels
@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ((0.0, 1.0), r"label 0.0 \(float\): .*int\(label\)"),
        (torch.tensor([0.0, 1.0]), r"label 0.0 \(torch.float32\): .*label.long\(\)"),
        (np.float32([0, 1]), r"label .*0.0.* \(float32\): .*int\(label\)"),
        (torch.eye(2).long(), r"tensor of shape \(2,\): .*argmax"),
        (([0, 1], [1, 0]), r"array of shape \(2,\): .*argmax"),
        (np.array([[0], [1]]), r"array of shape \(1,\): .*int\(label\[0\]\)"),
        ((None, 1), r"label None"),
        ((0, -1), r"label -1, but there are 2 classes"),
    ],
)
@pytest.mark.parametrize("split", Datasets._fields)
def test_labels_that_are_no_class_are_refused_before_training(labels, said, split: str) -> None:
    splits = three(**{split: Own(items(labels=labels))})
    with pytest.raises(DataError, match=rf"(?s)({split} )?image \d+ .*{said}"):
        enter(splits, "data.num_classes=2")


@pytest.mark.parametrize(
    "labels",
    [(False, True), np.array([0, 1], np.uint8), torch.tensor([0, 1], dtype=torch.int32)],
)
def test_integers_of_any_kind_are_labels(labels) -> None:
    _, task = enter(three(*[Own(items(labels=labels))] * 3))
    assert task.num_outputs == 2


def wrong_late(offer: str):
    """Two hundred images in memory, one of which, outside any sample, has the label 5."""
    labels = [i % 2 for i in range(200)]
    labels[3] = 5
    pictures = [noise(i) for i in range(200)]
    content = list(zip(pictures, labels, strict=True))
    if offer == "list":
        return content
    if offer == "tensors":
        return TensorDataset(torch.stack(pictures), torch.tensor(labels))
    if offer == "memory":
        return TensorImages(torch.stack(pictures), torch.tensor(labels), ["a", "b"])
    if offer == "subset":
        return Subset(Own(content, targets=labels), range(200))
    if offer == "transformed":
        shifted = [label + 1 for label in labels]
        return Own(content, targets=shifted, target_transform=lambda label: label - 1)
    return Own(content, **{offer: torch.tensor(labels)})


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize(
    "offer", ["list", "tensors", "memory", "subset", "transformed", "targets", "labels"]
)
def test_every_label_that_is_offered_is_checked(offer: str, split: str) -> None:
    with pytest.raises(DataError, match=rf"{split} image 3 .*label 5, but there are 2 classes"):
        enter(three(**{split: wrong_late(offer)}))


def test_offered_labels_that_are_not_those_of_the_items_are_not_trusted() -> None:
    one_to_two = Own(items(), targets=[1, 2] * 6)
    names = Own(items(), labels=["x"] * 12)
    for own in (one_to_two, names):
        _, task = enter(three(*[own] * 3))
        assert task.num_outputs == 2


def test_float_targets_in_memory_are_not_truncated() -> None:
    held = TensorImages(torch.stack([noise(i) for i in range(8)]), torch.rand(8) + 0.5, ["a", "b"])
    with pytest.raises(DataError, match=r"float32\): .*label.long|int\(label\)"):
        enter(three(held, held, held))


def test_training_images_of_one_class_are_refused() -> None:
    with pytest.raises(DataError, match="all 12 training images are of class 'a'"):
        enter(three(train=Own(items(labels=[0]), targets=[0] * 12, classes=["a", "b"])))


def test_classes_without_images_are_told_in_one_line(caplog) -> None:
    train = Own(items(labels=range(12)), targets=list(range(12)), classes=list("abcdefghijkl"))
    enter(three(train, items(labels=range(12)), items(labels=range(11))))
    assert [r.getMessage()[:32] for r in caplog.records] == ["class l has no test images: macr"]
    caplog.clear()
    enter(three(train, items(labels=range(12)), items()))
    assert "classes c, d, e, f, g, h, i, j and 2 more have no test images" in caplog.text


def test_impossible_augmentation_is_told_with_the_data() -> None:
    with pytest.raises(ConfigError, match=r"augment\.crop_padding=9"):
        enter(three(), "augment.crop_padding=9")
    enter(three(), "augment.crop_padding=9", "trainer.overfit_batches=1")  # it is not used


def test_looking_at_items_leaves_the_generators_alone() -> None:
    class Random(Own):
        def __getitem__(self, index: int):
            return torch.rand(1, 4, 4), index % 2

    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    admit(three(Random(items())), config())
    assert torch.equal(torch.rand(1), expected)


def test_what_a_dataset_knows_is_still_known_behind_the_door() -> None:
    own = Own(items(), classes=["a", "b"], vocabulary={"x": 1})
    data = admit(three(train=own), config())
    assert data.train.vocabulary == {"x": 1} and data.train.classes == ["a", "b"]
    again = pickle.loads(pickle.dumps(data.train))
    assert again.vocabulary == {"x": 1} and len(again) == 12
    assert not hasattr(data.train, "image_size")


def test_targets_of_some_structure_pass_to_their_task() -> None:
    boxes = [{"boxes": torch.rand(2, 4)}, {"boxes": torch.rand(1, 4)}]
    own = Own(items(labels=boxes), targets=[{"boxes": torch.rand(2, 4)}] * 12)
    assert admit(three(own, own, own), config()).test[1][1] is boxes[1]
