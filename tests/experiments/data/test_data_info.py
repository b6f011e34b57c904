"""What is found out about images, and how pixels become tensors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from generated_data import write_images, write_tree

from experiments.config.data import DataConfig
from experiments.data import describe_images, load_datasets
from experiments.data.containers import Part, TensorImages
from experiments.data.info import STATISTICS_SAMPLE, pixel_statistics
from experiments.data.pixels import to_tensor
from experiments.errors import DataError


def test_digits(digits, digits_info):
    info = digits_info
    assert (info.channels, info.image_size, info.native_size) == (1, 32, 32)
    pixels = torch.stack([digits.train[i][0] for i in range(len(digits.train))]).double() / 255
    assert info.mean == pytest.approx((pixels.mean().item(),), abs=1e-12)
    assert info.std == pytest.approx((pixels.std(correction=0).item(),), abs=1e-12)


def test_values_of_the_config_come_first(digits):
    info = describe_images(digits.train, DataConfig(mean=[0.25], std=[0.5], image_size=24))
    assert (info.mean, info.std, info.image_size) == ((0.25,), (0.5,), 24)
    only_mean = describe_images(digits.train, DataConfig(mean=[0.25]))
    assert only_mean.mean == (0.25,) and 0.3 < only_mean.std[0] < 0.35
    assert describe_images(digits.train, DataConfig(channels=3)).channels == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mean": [0.5, 0.5, 0.5]}, r"data.mean=\[.*1 channel.*give 1 number"),
        ({"std": [0.5, 0.5], "channels": 3}, r"data.std=\[.*3 channel.*give 3 number"),
        ({"channels": 2}, r"data.channels=2: .* has 1 channel.*use data.channels=1"),
    ],
)
def test_values_that_contradict_the_images_are_refused(digits, options, said):
    with pytest.raises(DataError, match=said):
        describe_images(digits.train, DataConfig(**options))


def test_folder_of_several_sizes_needs_an_image_size(tmp_path):
    write_tree(tmp_path, ["train", "test"], size=(12, 8))
    splits = load_datasets(DataConfig(name="folder", root=str(tmp_path)))
    with pytest.raises(DataError, match=r"data\.image_size=64"):
        describe_images(splits.train, DataConfig())
    info = describe_images(splits.train, DataConfig(image_size=16))
    assert (info.image_size, info.native_size, info.channels) == (16, None, 3)
    assert all(0.4 < m < 0.6 for m in info.mean)  # noise, not ImageNet's constants


@pytest.mark.parametrize("mixed", [False, True])
def test_a_folder_is_grey_only_if_all_its_images_are(tmp_path, mixed):
    write_tree(tmp_path, [""], mode="L")
    if mixed:
        write_images(tmp_path / "bee", 20, mode="RGB")
    splits = load_datasets(DataConfig(name="folder", root=str(tmp_path)))
    info = describe_images(splits.train, DataConfig())
    assert info.channels == (3 if mixed else 1) == len(info.mean)


def test_a_dataset_of_your_own_with_nothing_but_items():
    generator = torch.Generator().manual_seed(0)
    items = [(torch.rand(4, 6, 6, generator=generator), i % 3) for i in range(30)]
    info = describe_images((items), DataConfig())
    assert (info.channels, info.image_size) == (4, 6)
    assert info.mean[0] == pytest.approx(0.5, abs=0.05)


def test_an_item_of_another_kind_is_refused_with_the_contract():
    with pytest.raises(DataError, match=r"must give \(image, label\)"):
        describe_images(([(np.zeros((6, 6)), 0)] * 4), DataConfig())
    with pytest.raises(DataError, match=r"tensor of shape \(6, 6\)"):
        describe_images(([(torch.zeros(6, 6), 0)] * 4), DataConfig())
    with pytest.raises(DataError, match="no images"):
        describe_images(([]), DataConfig())


def test_statistics_of_a_constant_channel_can_be_divided_by():
    images = torch.zeros(5, 2, 4, 4, dtype=torch.uint8)
    images[:, 1] = 255
    mean, std = pixel_statistics(TensorImages(images, torch.zeros(5).long(), ["a"]), 2)
    assert mean == (0.0, 1.0) and std == (1.0, 1.0)


def test_statistics_of_deep_images_are_exact():
    """Values that 8 bits would merge; the expectation is computed in whole numbers."""
    values = [100, 101, 355, 4000]
    images = [(torch.full((1, 2, 2), v).to(torch.float32) / 65535, 0) for v in values]
    mean, std = pixel_statistics(images, 1)
    n, s1, s2 = 4, sum(values), sum(v * v for v in values)
    assert mean == (s1 / (n * 65535),)
    assert std == (math.sqrt((n * s2 - s1 * s1) / (n * 65535) ** 2),)
    mixed = [*images, (torch.full((1, 2, 2), 255, dtype=torch.uint8), 0)]
    assert pixel_statistics(mixed, 1)[0] == ((s1 + 65535) / (5 * 65535),)


def test_statistics_see_only_the_part(digits):
    whole = digits.train.base
    one = Part(whole, np.array([5]))
    expected = (whole.images[5].double() / 255).mean().item()
    assert pixel_statistics(one, 1)[0] == pytest.approx((expected,))


def test_statistics_of_many_stored_images_come_from_an_evenly_spaced_sample():
    class Counting(list):
        asked = 0

        def __getitem__(self, index):
            self.asked += 1
            return super().__getitem__(index)

    items = Counting((torch.full((1, 2, 2), i / 999), 0) for i in range(1000))
    mean, _ = pixel_statistics(items, 1)
    assert items.asked == STATISTICS_SAMPLE and mean[0] == pytest.approx(0.5, abs=0.01)


# ---------------------------------------------------------------------------------------- pixels
def test_tensors_keep_their_kind_unless_told_otherwise():
    grey = torch.rand(2, 1, 4, 4)
    assert to_tensor(grey, 1) is grey
    assert torch.equal(to_tensor(grey, 3), grey.expand(2, 3, 4, 4))
    assert to_tensor(grey, 1, torch.uint8).dtype == torch.uint8
    assert to_tensor(torch.rand(3, 4, 4), 1).shape == (1, 4, 4)
