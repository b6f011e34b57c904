"""Batches depend on where they stand in the run alone: not on workers, restarts or processes."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from generated_data import write_tree
from hypothesis import given, settings
from hypothesis import strategies as st
from loading import NUMBERED, assert_same, classes_of, numbered, numbers_of, train_loader

from experiments.config.augment import AugmentConfig
from experiments.config.data import DataConfig
from experiments.data import (
    EvaluationLoader,
    describe_images,
    load_datasets,
)
from experiments.data.containers import Part, TensorImages
from experiments.errors import ConfigError, DataError
from experiments.tasks.classification import class_recipe

EVERYTHING = AugmentConfig(
    crop_padding=2, horizontal_flip=True, rotation=10.0, policy="random_augment", erasing=0.5,
    mixup=0.5, cutmix=0.5, mix_probability=0.7,
)  # fmt: skip
CROPS = AugmentConfig(crop_padding=4, horizontal_flip=True)


def evaluation_loader(dataset, info, workers=0, **options) -> EvaluationLoader:
    options = {"batch_size": 16, "rank": 0, "world_size": 1, **options}
    recipe = class_recipe(info, classes_of(dataset, options), None)
    return EvaluationLoader(dataset, recipe, workers=workers, **options)


# ------------------------------------------------------------------------- which images, and where
@settings(max_examples=60, deadline=None)
@given(
    images=st.integers(1, 200), batch=st.integers(1, 5), accumulation=st.integers(1, 3),
    processes=st.integers(1, 3), epoch=st.integers(0, 3), seed=st.integers(0, 3),
)  # fmt: skip
def test_processes_and_micro_batches_share_each_step_without_overlap(
    images, batch, accumulation, processes, epoch, seed
):
    size = batch * accumulation * processes
    if size > images:
        return
    options = {"batch_size": size, "accumulation": accumulation, "world_size": processes}
    ranks = [
        numbers_of(
            train_loader(numbered(images), NUMBERED, seed=seed, rank=rank, **options).epoch(epoch)
        )
        for rank in range(processes)
    ]
    alone = train_loader(numbered(images), NUMBERED, seed=seed, batch_size=size)
    whole = [step[0] for step in numbers_of(alone.epoch(epoch))]
    assert len(whole) == images // size == alone.steps_per_epoch
    assert len({n for step in whole for n in step}) == images // size * size
    for step, expected in enumerate(whole):
        # Micro-batch m of rank r is slice m * P + r of what one process takes at once.
        slices = [ranks[r][step][m] for m in range(accumulation) for r in range(processes)]
        assert all(len(part) == batch for part in slices)
        assert [n for part in slices for n in part] == expected


def test_orders_differ_between_epochs_and_seeds_and_repeat_within(digits, digits_info):
    def order(seed: int, epoch: int):
        return numbers_of(train_loader(numbered(200), NUMBERED, seed=seed).epoch(epoch))

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1) and order(0, 1) != order(1, 1) != order(1, 0)


def test_images_and_targets_belong_together():
    for step in train_loader(numbered(100), NUMBERED).epoch(0):
        images, targets = step[0]
        assert torch.equal(images.flatten().round().long() % 3, targets)


def test_limit_steps_caps_an_epoch():
    loader = train_loader(numbered(200), NUMBERED, limit_steps=3)
    assert loader.steps_per_epoch == 3 == len(list(loader.epoch(1)))
    whole = train_loader(numbered(200), NUMBERED)
    assert numbers_of(loader.epoch(1)) == numbers_of(whole.epoch(1))[:3]
    assert train_loader(numbered(40), NUMBERED, limit_steps=3).steps_per_epoch == 2


def test_overfitting_repeats_the_first_batches(digits, digits_info):
    loader = train_loader(digits.train, digits_info, overfit_batches=2)
    plain = train_loader(digits.train, digits_info, limit_steps=2)
    assert loader.steps_per_epoch == 2
    for epoch in (0, 5):
        assert_same(loader.epoch(epoch), plain.epoch(0))
    seen = evaluation_loader(loader.seen_images(), digits_info)
    assert_same([list(seen)], [[micro for step in plain.epoch(0) for micro in step]])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch_size": 10, "accumulation": 3}, r"=10: .* 1 x 3 = 3; use 9 or 12"),
        ({"batch_size": 10, "accumulation": 2, "world_size": 4}, r"4 x 2 = 8; use 8 or 16"),
        ({"batch_size": 2, "world_size": 4}, r"=2: .* 4 x 1 = 4; use 4$"),
        ({"batch_size": 64}, r"trainer.batch_size=64: there are only 50 .* trainer.batch_size=50"),
        ({"overfit_batches": 4}, r"overfit_batches=4: 50 training images make 3 batches of 16"),
    ],
)
def test_sizes_that_cannot_work_name_those_that_do(options, said):
    with pytest.raises(ConfigError, match=said):
        train_loader(numbered(50), NUMBERED, **options)


# ------------------------------------------------------------------------------------- determinism
@pytest.mark.parametrize("augment", [AugmentConfig(), CROPS, EVERYTHING])
def test_workers_do_not_change_batches(digits, digits_info, augment):
    options = {"batch_size": 32, "accumulation": 2, "limit_steps": 3}
    expected = train_loader(digits.train, digits_info, augment, **options)
    for workers in (1, 2):
        loader = train_loader(digits.train, digits_info, augment, workers=workers, **options)
        for epoch in (0, 1):  # the second with the same worker processes
            assert_same(loader.epoch(epoch), expected.epoch(epoch))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_restart_at_any_step_goes_on_with_the_same_batches(digits, digits_info, workers):
    options = {"batch_size": 16, "accumulation": 2, "limit_steps": 4, "workers": workers}
    steps = list(train_loader(digits.train, digits_info, EVERYTHING, **options).epoch(2))
    loader = train_loader(digits.train, digits_info, EVERYTHING, **options)
    for start in range(5):
        assert_same(loader.epoch(2, start), steps[start:])


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_left_early_does_not_disturb_the_next(digits, digits_info, workers):
    loader = train_loader(digits.train, digits_info, CROPS, workers=workers)
    iterator = loader.epoch(0)
    next(iterator), next(iterator)
    iterator.close()
    fresh = train_loader(digits.train, digits_info, CROPS)
    assert_same(loader.epoch(1), fresh.epoch(1))


@pytest.mark.parametrize("end", ["close", "forget"])
def test_workers_are_told_to_end_when_the_loader_does(digits, digits_info, monkeypatch, end):
    """A worker that is not told waits until torch's patience ends, and is made to end."""
    monkeypatch.setattr(torch.utils.data._utils, "MP_STATUS_CHECK_INTERVAL", 60.0)
    process = multiprocessing.process.BaseProcess
    monkeypatch.setattr(process, "terminate", process.kill)  # which the exit code shows
    before = set(multiprocessing.active_children())
    loader = train_loader(digits.train, digits_info, CROPS, workers=2)
    iterator = loader.epoch(0)
    next(iterator)
    workers = set(multiprocessing.active_children()) - before
    assert len(workers) == 2
    iterator.close()
    del iterator
    if end == "close":
        loader.close()
    else:
        del loader  # no reference cycle: no waiting for the collector
    assert [worker.exitcode for worker in workers] == [0, 0]
    if end == "close":
        assert len(list(loader.epoch(1))) == loader.steps_per_epoch


def test_skipped_images_are_not_read():
    class Watched(TensorImages):
        read: list[int] = []  # noqa: RUF012

        def __getitem__(self, index):
            self.read.append(index)
            return super().__getitem__(index)

    base = numbered(64)
    dataset = Watched(base.images, base.targets, base.classes)
    loader = train_loader(dataset, NUMBERED, AugmentConfig(horizontal_flip=True))
    steps = numbers_of(loader.epoch(0, 3))
    assert dataset.read == steps[0][0]


def test_processes_change_images_as_one_process_does(digits, digits_info):
    options = {"batch_size": 32, "limit_steps": 2}
    one = list(train_loader(digits.train, digits_info, CROPS, **options).epoch(1))
    two = [
        list(
            train_loader(
                digits.train, digits_info, CROPS, rank=rank, world_size=2, **options
            ).epoch(1)
        )
        for rank in (0, 1)
    ]
    for step, [(images, targets)] in enumerate(one):
        parts = [two[rank][step][0] for rank in (0, 1)]
        assert torch.equal(torch.cat([p[0] for p in parts]), images)
        assert torch.equal(torch.cat([p[1] for p in parts]), targets)


def test_mixing_differs_between_steps_micro_batches_and_ranks(digits, digits_info):
    augment = AugmentConfig(mixup=1.0)
    shares = set()
    for rank in (0, 1):
        loader = train_loader(
            digits.train, digits_info, augment, batch_size=32, accumulation=2, rank=rank,
            world_size=2, limit_steps=3,
        )  # fmt: skip
        for step in loader.epoch(0):
            for _, targets in step:
                torch.testing.assert_close(targets.sum(1), torch.ones(8))
                assert targets.shape == (8, 10) and targets.dtype == torch.float32
                shares.add(round(float(targets[targets > 0].min()), 5))
    assert len(shares) == 12


def test_augmentation_differs_between_epochs(digits, digits_info):
    rows = []
    few = Part(digits.train, np.arange(100))
    for epoch in (0, 1):
        loader = train_loader(few, digits_info, EVERYTHING, batch_size=100)
        order = np.argsort(loader._schedule.order(epoch))
        rows.append(next(loader.epoch(epoch))[0][0][torch.from_numpy(order)])
    same = (rows[0] - rows[1]).abs().amax((1, 2, 3)) < 1e-6
    assert same.float().mean() < 0.05


@pytest.mark.parametrize("augment", [AugmentConfig(), EVERYTHING])
def test_the_callers_generators_and_threads_are_left_alone(digits, digits_info, augment):
    def draw():
        return torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()

    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    expected = draw()
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        first = list(train_loader(digits.train, digits_info, augment, limit_steps=2).epoch(0))
        list(evaluation_loader(digits.validation, digits_info))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert draw() == expected
    again = train_loader(digits.train, digits_info, augment, limit_steps=2)
    assert_same(again.epoch(0), first)  # after other randomness


def test_whole_batches_equal_images_one_by_one(digits, digits_info):
    class Plain:  # hides that the images are in memory
        def __len__(self):
            return len(digits.train)

        def __getitem__(self, index):
            return digits.train[index]

    info = replace(digits_info, image_size=20)
    fast = train_loader(digits.train, info, limit_steps=2)
    slow = train_loader(Plain(), info, limit_steps=2, num_classes=10)
    assert_same(fast.epoch(0), slow.epoch(0))


# -------------------------------------------------------------------------------------- evaluation
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 60), st.integers(1, 9), st.integers(1, 4))
def test_evaluation_reads_every_image_once(images, batch_size, processes):
    seen = []
    for rank in range(processes):
        loader = evaluation_loader(
            numbered(images), NUMBERED, batch_size=batch_size, rank=rank, world_size=processes
        )
        batches = list(loader)
        assert len(batches) == len(loader)
        mine = [n for b, _ in batches for n in b.flatten().round().int().tolist()]
        assert mine == list(range(images))[rank::processes]
        seen += mine
    assert sorted(seen) == list(range(images))


def test_evaluation_repeats_itself_with_workers_too(digits, digits_info):
    loader = evaluation_loader(digits.test, digits_info, workers=2, batch_size=100)
    expected = list(evaluation_loader(digits.test, digits_info, batch_size=100))
    assert [len(targets) for _, targets in expected] == [100, 100, 100, 59]
    for _ in range(2):
        assert_same([list(loader)], [expected])


# ------------------------------------------------------------------------------------------ errors
@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_is_one_clean_message(tmp_path, workers):
    write_tree(tmp_path, [""], size=(16, 16))
    cfg = DataConfig(name="folder", root=str(tmp_path), workers=workers)
    splits = load_datasets(cfg)
    info = describe_images(splits.train, cfg)
    path = Path(splits.train.base.path(int(splits.train.indices[5])))
    path.write_bytes(path.read_bytes()[:60])
    options = {"batch_size": 2, "workers": workers}
    for attempt in (
        lambda: list(train_loader(splits.train, info, CROPS, **options).epoch(0)),
        lambda: list(evaluation_loader(splits.train, info, **options)),
    ):
        with pytest.raises(DataError) as caught:
            attempt()
        message = str(caught.value)
        assert message.startswith(f"cannot read the image {path}: ")
        assert "\n" not in message and "worker" not in message and "Traceback" not in message
    good = evaluation_loader(splits.test, info, **options)
    assert sum(len(targets) for _, targets in good) == len(splits.test)
    good.close()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_label_beyond_the_classes_is_named(digits, digits_info, workers):
    for augment in (AugmentConfig(), CROPS, EVERYTHING):
        loader = train_loader(digits.train, digits_info, augment, workers=workers, num_classes=9)
        with pytest.raises(DataError, match=r"image \d+ of .* label 9, but there are 9 classes"):
            list(loader.epoch(0))


def test_a_dataset_of_your_own_that_cannot_read_says_which_image():
    class Remote(list):
        def __getitem__(self, index):
            if index == 3:
                raise OSError("share not mounted")
            return super().__getitem__(index)

    items = Remote((torch.zeros(1, 4, 4), 0) for _ in range(8))
    info = replace(NUMBERED, image_size=4, native_size=4)
    with pytest.raises(DataError, match=r"cannot read image 3 of Remote: share not mounted"):
        list(evaluation_loader(items, info))
    three = [(torch.zeros(2, 4, 4), 0)] * 2
    with pytest.raises(DataError, match=r"image 0 of list: data.channels=1: .* 2 channel"):
        list(evaluation_loader(three, info))


def test_a_worker_that_dies_is_explained():
    class Dying(list):
        def __getitem__(self, index):
            os.kill(os.getpid(), signal.SIGKILL)

    dataset = Dying([(torch.zeros(1, 1, 1), 0)] * 8)
    with pytest.raises(DataError, match=r"(?s)reads images ended.*fewer data.workers"):
        list(evaluation_loader(dataset, NUMBERED, workers=1))


def test_mistakes_in_a_dataset_of_your_own_keep_their_traceback():
    class Wrong(list):
        def __getitem__(self, index):
            return {}["label"]

    dataset = Wrong([(torch.zeros(1, 1, 1), 0)] * 8)
    with pytest.raises(KeyError, match="label"):
        list(evaluation_loader(dataset, NUMBERED))
