"""Splits are stratified, disjoint, and functions of the labels and the seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.config.data import DataConfig
from experiments.data import complete_splits, load_datasets
from experiments.data.containers import Part, TensorImages, labels_of
from experiments.data.splits import hold_out, stratified_sample
from experiments.errors import DataError


def numbered(counts: list[int]) -> TensorImages:
    """A dataset with that many images per class; each image's pixel is its own number."""
    targets = np.repeat(np.arange(len(counts)), counts)
    images = torch.arange(len(targets)).to(torch.uint8).reshape(-1, 1, 1, 1)
    return TensorImages(images, torch.from_numpy(targets), [f"c{i}" for i in range(len(counts))])


def numbers(part: Part) -> set[int]:
    return set(part.indices.tolist())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=6), st.data(), st.integers(0, 5))
def test_sample_has_the_size_and_each_class_within_one_image_of_its_share(counts, data, seed):
    targets = np.repeat(np.arange(len(counts)), counts)
    size = data.draw(st.integers(0, len(targets)))
    chosen = stratified_sample(targets, size, seed)
    assert len(chosen) == size == len(set(chosen.tolist()))
    taken = np.bincount(targets[chosen], minlength=len(counts))
    share = np.array(counts) * size / len(targets)
    assert np.all(np.abs(taken - share) <= 1)
    assert np.array_equal(chosen, stratified_sample(targets, size, seed))


def test_rounding_spares_the_class_that_would_be_taken_whole():
    targets = np.array([0] * 9 + [1])
    for seed in range(10):  # shares 4.5 and 0.5: the odd image comes from class 0
        assert 9 not in stratified_sample(targets, 5, seed)


def test_digits_are_split_by_class_and_never_overlap(digits):
    assert [len(part) for part in digits] == [1294, 144, 359]
    for part in digits:
        share = np.bincount(labels_of(part)) / len(part)
        assert np.all(np.abs(share - 0.1) < 0.011)
    train = numbers(digits.train)  # indices into the 1,797 images
    assert not train & numbers(digits.validation)
    assert not train & numbers(digits.test) and not numbers(digits.validation) & numbers(
        digits.test
    )
    assert len(train | numbers(digits.validation) | numbers(digits.test)) == 1797


def test_split_seed_moves_validation_but_never_test(digits):
    same, other = load_datasets(DataConfig()), load_datasets(DataConfig(split_seed=1))
    for before, after in zip(digits, same, strict=True):
        assert np.array_equal(before.indices, after.indices)
    assert np.array_equal(digits.test.indices, other.test.indices)
    assert numbers(digits.validation) != numbers(other.validation)


def test_train_size_keeps_a_stratified_part_and_the_same_validation(digits):
    small = load_datasets(DataConfig(train_size=100))
    assert len(small.train) == 100 and numbers(small.train) < numbers(digits.train)
    assert np.array_equal(small.validation.indices, digits.validation.indices)
    assert np.all(np.abs(np.bincount(labels_of(small.train)) - 10) <= 1)
    assert len(load_datasets(DataConfig(train_size=1294)).train) == 1294
    assert len(load_datasets(DataConfig(train_size=3)).train) == 3  # fewer than classes


def test_train_size_too_large_says_how_many_there_are():
    with pytest.raises(DataError, match=r"data.train_size=1295: only 1294 training images"):
        load_datasets(DataConfig(train_size=1295))


def test_a_split_of_too_few_images_is_refused_in_words():
    with pytest.raises(DataError, match=r"0.1 of 4 images .* data.validation_fraction"):
        hold_out(numbered([2, 2]), 0.1, 0, "validation")


def test_class_names_and_labels_survive_nested_parts():
    data = numbered([20, 20])
    splits = complete_splits(DataConfig(train_size=10, validation_fraction=0.25), data, data)
    assert splits.train.classes == ["c0", "c1"] and isinstance(splits.train.base, TensorImages)
    for index in range(10):
        image, label = splits.train[index]
        assert label == labels_of(splits.train)[index] == int(image) // 20


def test_a_dataset_without_targets_is_read_for_its_labels():
    items = [(torch.zeros(1, 2, 2), label) for label in (0, 1) * 10]
    train, held_out = hold_out(items, 0.2, 0, "validation")
    assert np.bincount(labels_of(held_out)).tolist() == [2, 2]
    assert np.bincount(labels_of(train)).tolist() == [8, 8]
