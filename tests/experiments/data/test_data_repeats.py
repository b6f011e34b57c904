"""Repeated augmentation: copies of an image in an epoch, each changed in its own way."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from loading import NUMBERED, assert_same, numbered, numbers_of, train_loader
from timm.data.distributed_sampler import RepeatAugSampler

from experiments.config.augment import AugmentConfig
from experiments.data.containers import Part

CHANGES = AugmentConfig(crop_padding=4, horizontal_flip=True, erasing=0.5, erasing_mode="pixel")
MIXES = AugmentConfig(crop_padding=4, mixup=0.5, cutmix=0.5, mix_mode="elem")


def ranks(images: int, processes: int, **options) -> list[list[list[list[int]]]]:
    return [
        numbers_of(
            train_loader(numbered(images), NUMBERED, rank=rank, world_size=processes, **options)
            .epoch(options.get("epoch", 1))
        )
        for rank in range(processes)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("images", "batch", "processes"),
    [(250, 128, 1), (250, 128, 2), (200, 50, 1), (255, 51, 3)],
)
@pytest.mark.parametrize("repeats", [2, 3, 4])
def test_an_epoch_is_timms(images, batch, processes, repeats):
    """As many samples, of as many images, as often each; timm rounds down to selected_round."""
    whole = images // batch * batch
    theirs: Counter[int] = Counter()
    for rank in range(processes):
        sampler = RepeatAugSampler(
            range(images), processes, rank, num_repeats=repeats, selected_round=whole
        )
        theirs.update(sampler)
    steps = ranks(images, processes, repeats=repeats, batch_size=batch)
    ours = Counter(n for steps_of in steps for step in steps_of for part in step for n in part)
    assert ours.total() == theirs.total() == whole
    assert Counter(ours.values()) == Counter(theirs.values())
    assert len(ours) == -(-whole // repeats)


def test_a_step_has_its_copies_together_and_its_neighbours_apart():
    for steps in ranks(240, 1, repeats=3, batch_size=24):
        for [step] in steps:
            assert set(Counter(step).values()) == {3}
            assert all(one != other for one, other in zip(step, step[1:] + step[:1], strict=True))


def test_processes_share_a_step_and_meet_an_image_once_each():
    alone = ranks(240, 1, repeats=3, batch_size=24)[0]
    parts = ranks(240, 3, repeats=3, batch_size=24)
    for step, [whole] in enumerate(alone):
        slices = [parts[rank][step][0] for rank in range(3)]
        assert [n for part in slices for n in part] == whole
        assert all(len(set(part)) == 8 for part in slices)


def test_orders_of_epochs_are_those_without_copies():
    def images(repeats: int, epoch: int) -> list[int]:
        loader = train_loader(numbered(90), NUMBERED, repeats=repeats, batch_size=9)
        return [n for [step] in numbers_of(loader.epoch(epoch)) for n in step]

    assert list(dict.fromkeys(images(3, 0))) == images(1, 0)[:30]
    assert set(images(3, 0)) != set(images(3, 1)) and images(3, 1) == images(3, 1)


def test_copies_of_an_image_differ_and_the_first_is_what_it_was(digits, digits_info):
    few = Part(digits.train, np.arange(60))
    loader = train_loader(few, digits_info, CHANGES, repeats=3, batch_size=60)
    order = loader._schedule.order(2)
    images, _ = next(loader.epoch(2))[0]
    views: dict[int, list[torch.Tensor]] = {}
    for sample, image in zip(order, images, strict=True):
        views.setdefault(int(sample) % 60, []).append(image)
    assert len(views) == 20 and {len(copies) for copies in views.values()} == {3}
    different = [not torch.equal(a, b) for v in views.values() for a, b in (v[:2], v[1:], v[::2])]
    assert np.mean(different) > 0.9
    plain = train_loader(few, digits_info, CHANGES, batch_size=60)
    where = plain._schedule.order(2).tolist()
    once, _ = next(plain.epoch(2))[0]
    assert all(torch.equal(copies[0], once[where.index(i)]) for i, copies in views.items())


@pytest.mark.parametrize("augment", [AugmentConfig(), CHANGES, MIXES])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_restart_within_an_epoch_gives_the_same_batches(digits, digits_info, augment, workers):
    options = {"batch_size": 16, "accumulation": 2, "limit_steps": 4, "repeats": 3}
    steps = list(train_loader(digits.train, digits_info, augment, **options).epoch(1))
    loader = train_loader(digits.train, digits_info, augment, workers=workers, **options)
    for start in (3, 1, 0):
        assert_same(loader.epoch(1, start), steps[start:])
    loader.close()


def test_two_processes_change_copies_as_one_does(digits, digits_info):
    options = {"batch_size": 32, "limit_steps": 2, "repeats": 3}
    one = train_loader(digits.train, digits_info, CHANGES, **options)
    two = [
        train_loader(digits.train, digits_info, CHANGES, rank=rank, world_size=2, **options)
        for rank in (0, 1)
    ]
    for [(images, targets)], [first], [second] in zip(
        *(loader.epoch(0) for loader in (one, *two)), strict=True
    ):
        assert torch.equal(torch.cat([first[0], second[0]]), images)
        assert torch.equal(torch.cat([first[1], second[1]]), targets)


def test_more_copies_than_a_batch_has_room_for():
    steps = ranks(40, 1, repeats=1000, batch_size=8)[0]
    assert len({n for [step] in steps for n in step}) == 1 and len(steps) == 5
