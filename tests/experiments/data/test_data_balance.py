"""Classes are drawn equally: in every epoch, on any number of processes, after any restart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import chain

import numpy as np
import pytest
import torch

from experiments.config.data import DataConfig
from experiments.data.balance import draw_equally
from experiments.data.containers import TensorImages
from experiments.data.loader import TrainLoader
from experiments.data.masks import TensorMasks, count_pixels
from experiments.data.seeding import Sampling
from experiments.runs.ending import Result
from experiments.tasks.classification import class_recipe, describe_images

CLASSES = np.repeat([0, 1, 3], [14, 5, 1])  # none of class 2


def drawn(seed: int) -> np.ndarray:
    return draw_equally(CLASSES, torch.Generator().manual_seed(seed))


def test_an_epoch_has_as_many_of_each_class() -> None:
    for seed in range(5):
        samples = drawn(seed)
        assert len(samples) == len(set(samples.tolist())) == 20
        counts = Counter(CLASSES[samples % 20].tolist())
        assert sorted(counts.values()) == [6, 7, 7] and set(counts) == {0, 1, 3}
        own = samples[CLASSES[samples % 20] == 1]
        assert set((own % 20).tolist()) == set(range(14, 19))  # all, before one is again
    firsts = {frozenset(s[CLASSES[s % 20] == 0].tolist()) for s in map(drawn, range(5))}
    assert len(firsts) > 1  # of a large class others in each epoch


def loader(rank: int, world_size: int) -> TrainLoader:
    images = torch.arange(20, dtype=torch.uint8)[:, None, None, None].expand(20, 1, 4, 4)
    data = TensorImages(images.contiguous(), torch.from_numpy(CLASSES), ["a", "b", "c", "d"])
    info = describe_images(data, DataConfig(mean=[0.0], std=[1.0]))
    sampling = Sampling(shuffle=3, classes=CLASSES)
    return TrainLoader(data, class_recipe(info, 4, None), batch_size=4, accumulation=1,
                       sampling=sampling, rank=rank, world_size=world_size)  # fmt: skip


def targets(loader: TrainLoader, epoch: int, start: int = 0) -> list[list[int]]:
    return [step[0][1].tolist() for step in loader.epoch(epoch, start)]


def test_processes_and_restarts_see_one_order() -> None:
    whole = targets(loader(0, 1), 1)
    assert targets(loader(0, 1), 1, 2) == whole[2:] and targets(loader(0, 1), 2) != whole
    shares = zip(targets(loader(0, 2), 1), targets(loader(1, 2), 1), strict=True)
    assert [[*first, *second] for first, second in shares] == whole
    assert sorted(Counter(chain(*whole)).values()) == [6, 7, 7]


def test_a_run_draws_equally_and_weighs_by_its_classes(
    tiny_run: Callable[..., Result], caplog: pytest.LogCaptureFixture
) -> None:
    tiny_run("data.balance=true", "trainer.test=false")
    tiny_run("loss.class_weights=balanced", "trainer.test=false", "loss=bce")
    assert "loss.class_weights=balanced: from 0." in caplog.text


def test_pixels_of_each_class_are_counted() -> None:
    masks = torch.tensor([[[0, 0], [1, 255]], [[2, 2], [2, 0]]], dtype=torch.uint8)
    data = TensorMasks(torch.zeros(2, 1, 2, 2, dtype=torch.uint8), masks, ["a", "b", "c"])
    assert count_pixels(data, 3, 255).tolist() == [3, 1, 3]
    assert count_pixels(data, 3, 0).tolist() == [0, 1, 3]
