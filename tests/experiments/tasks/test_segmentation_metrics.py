"""Figures of masks, counted by hand on masks of a few pixels, and as libraries count them."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score
from torchmetrics.classification import MulticlassJaccardIndex as Jaccard

from experiments.data import EvaluationLoader, Recipe
from experiments.errors import ConfigError
from experiments.tasks.map_metrics import MapMetrics, check_map_monitor
from experiments.tasks.rows import MapMetricsConfig
from tests import forks

NAMES = ["ground", "cat", "dog"]


def maps_of(classes, count=3):
    """Maps whose largest logit is at these classes; one map for two classes."""
    one_hot = F.one_hot(torch.as_tensor(classes), count).movedim(-1, 1).float()
    return 2 * one_hot[:, 1:] - 1 if count == 2 else one_hot


def figures(guess, truth, names=NAMES, ignore=None, **options):
    metrics = MapMetrics(names, MapMetricsConfig(**options), ignore)
    metrics.update(maps_of(guess, len(names)), torch.as_tensor(truth))
    return metrics.compute()


GUESS = [[[0, 0], [1, 1]], [[0, 0], [0, 0]]]
TRUTH = [[[0, 1], [1, 1]], [[0, 0], [0, 1]]]


def test_over_the_set_and_per_image_by_hand():
    """Image 0: ground 1/2, cat 2/3; image 1: ground 3/4, cat 0/1; dog is nowhere.

    Over the set ground has 4 of 6 pixels and cat 2 of 4.
    """
    found = figures(GUESS, TRUTH)
    ground, cat = 4 / 6, 2 / 4
    assert found == pytest.approx(
        {
            "iou": (ground + cat) / 2,
            "dice": (8 / 10 + 4 / 6) / 2,
            "iou_per_image": ((1 / 2 + 2 / 3) / 2 + (3 / 4 + 0) / 2) / 2,
            "dice_per_image": ((2 / 3 + 4 / 5) / 2 + (6 / 7 + 0) / 2) / 2,
            "pixel_accuracy": 6 / 8,
            "iou/ground": ground,
            "iou/cat": cat,
        }
    )
    assert abs(found["iou"] - found["iou_per_image"]) > 0.05


def test_without_background_and_without_classes():
    found = figures(GUESS, TRUTH, background=False, per_class=False)
    assert found == pytest.approx(
        {
            "iou": 2 / 4,
            "dice": 4 / 6,
            "iou_per_image": (2 / 3 + 0) / 2,
            "dice_per_image": (4 / 5 + 0) / 2,
            "pixel_accuracy": 6 / 8,
        }
    )


def test_a_class_that_is_only_predicted_counts_nothing():
    found = figures([[[0, 2]]], [[[0, 0]]])
    assert found["iou/dog"] == 0 and "iou/cat" not in found
    assert found["iou"] == found["iou_per_image"] == pytest.approx((1 / 2 + 0) / 2)


def test_empty_masks():
    """Found empty: right as far as the background counts, and else in no mean."""
    empty, full = [[0, 0]], [[1, 1]]
    right = figures([empty, full], [empty, full])
    assert right["iou"] == right["iou_per_image"] == right["dice_per_image"] == 1
    foreground = figures([empty, [[0, 1]]], [empty, full], background=False)
    assert foreground["iou"] == foreground["iou_per_image"] == 1 / 2  # of the other image alone
    missed = figures([empty], [full], background=False)
    assert missed["iou"] == missed["iou_per_image"] == 0
    nothing = figures([empty], [empty], background=False)
    assert nothing == {"pixel_accuracy": 1}


def test_ignored_pixels_do_not_exist():
    truth = torch.tensor(TRUTH)
    truth[0, 0, 1] = truth[1, 1, 1] = 255  # those that were wrong
    found = figures(GUESS, truth, ignore=255)
    assert found["iou"] == found["iou_per_image"] == found["pixel_accuracy"] == 1
    all_of_one = truth.clone()
    all_of_one[1] = 255
    assert figures(GUESS, all_of_one, ignore=255)["iou_per_image"] == 1  # it is in no mean
    assert figures(GUESS, torch.full_like(truth, 255), ignore=255) == {}


def test_two_classes_of_one_map():
    found = figures([[[0, 1, 1, 0]]], [[[0, 1, 0, 0]]], names=["no", "yes"])
    assert found["iou/yes"] == 1 / 2 and found["iou/no"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("size", [(6, 5), (4, 3, 5)], ids=str)
def test_libraries_count_the_same(size):
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(7, 4, *size, generator=generator)
    masks = torch.randint(0, 5, (7, *size), generator=generator)
    masks[masks == 4] = 255
    metrics = MapMetrics(list("abcd"), MapMetricsConfig(), 255)
    for part in (slice(0, 3), slice(3, 7)):
        metrics.update(maps[part], masks[part])
    found, options = metrics.compute(), {"num_classes": 4, "ignore_index": 255}
    judges = {
        "iou": Jaccard(average="macro", **options),
        "dice": MulticlassF1Score(average="macro", **options),
        "pixel_accuracy": MulticlassAccuracy(average="micro", **options),
    }
    for name, judge in judges.items():
        assert found[name] == pytest.approx(float(judge(maps, masks)), rel=1e-6), name
    per_image = [Jaccard(average="macro", **options)(maps[i : i + 1], masks[i : i + 1])
                 for i in range(7)]  # fmt: skip
    assert found["iou_per_image"] == pytest.approx(float(torch.stack(per_image).mean()), rel=1e-6)


def test_hausdorff_by_hand():
    """Columns that are two pixels apart; a class of one alone has the image's diagonal."""
    truth, guess = torch.zeros(1, 5, 5).long(), torch.zeros(1, 5, 5).long()
    truth[0, :, 0], guess[0, :, 2] = 1, 1
    options = {"background": False, "hausdorff": True}
    assert figures(guess, truth, **options)["hausdorff95"] == 2
    missed = figures(torch.zeros_like(guess), truth, **options)
    assert missed["hausdorff95"] == pytest.approx(math.sqrt(4**2 + 4**2))
    both = figures(torch.cat((guess, guess * 0)), torch.cat((truth, truth)), **options)
    assert both["hausdorff95"] == pytest.approx((2 + math.sqrt(32)) / 2)
    nothing = figures(guess * 0, truth * 0, **options)
    assert "hausdorff95" not in nothing
    volume = [x[:, None].expand(1, 3, 5, 5) for x in (guess, truth)]
    assert figures(*volume, **options)["hausdorff95"] == 2


def test_a_monitor_that_is_not_computed_is_refused():
    with pytest.raises(ConfigError, match=r"type metrics.hausdorff=true"):
        check_map_monitor("hausdorff95", MapMetricsConfig())
    check_map_monitor("hausdorff95", MapMetricsConfig(hausdorff=True))
    check_map_monitor("iou", MapMetricsConfig())


def test_examples_are_the_worst_the_median_and_the_best():
    wrong = torch.tensor([3, 0, 5, 1, 4, 2, 6])  # pixels of eight, of seven images
    truth = torch.zeros(7, 1, 8).long()
    guess = (torch.arange(8) < wrong[:, None, None]).long()
    metrics = MapMetrics(["no", "yes"], MapMetricsConfig(), None)
    for i in range(7):
        metrics.update(maps_of(guess[i : i + 1], 2), truth[i : i + 1])
    found = metrics.examples(1)
    assert {name: [e["index"] for e in part] for name, part in found.items()} == {
        "worst": [6], "median": [0], "best": [1],
    }  # fmt: skip
    assert found["best"] == [{"index": 1, "iou": 1.0}]
    assert [e["index"] for e in metrics.examples(2)["worst"]] == [6, 2]
    alone = MapMetrics(["no", "yes"], MapMetricsConfig(), None)
    alone.update(maps_of(guess[:1], 2), truth[:1])
    assert [e["index"] for part in alone.examples().values() for e in part] == [0, 0, 0]


def test_a_batch_without_images_and_no_batch_at_all():
    metrics = MapMetrics(NAMES, MapMetricsConfig(), None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics.update(torch.zeros(0, 3, 2, 2), torch.zeros(0, 2, 2).long())
        assert metrics.compute() == {}


def generated():
    """Seven images, one of which leaves no figure."""
    generator = torch.Generator().manual_seed(1)
    masks = torch.randint(0, 3, (7, 4, 4), generator=generator)
    masks[5] = 255
    return torch.randn(7, 3, 4, 4, generator=generator), masks


def print_figures(rank, world):
    """What a process of several computes of its share, to the last bit."""
    if world > 1:
        torch.distributed.init_process_group("gloo")
    maps, masks = generated()
    recipe = Recipe(prepare=lambda image, mask: (image, mask))
    data = list(zip(maps, masks, strict=True))
    loader = EvaluationLoader(data, recipe, batch_size=2, rank=rank, world_size=world)
    metrics = MapMetrics(NAMES, MapMetricsConfig(), 255)
    for outputs, targets in loader:
        metrics.update(outputs, targets)
    print({k: v.hex() for k, v in metrics.compute().items()}, metrics.examples())


def test_processes_add_up_to_the_bit():
    """Seven images on three processes: shares of unequal size."""
    program = (
        "import os; from tests.experiments.tasks.test_segmentation_metrics import print_figures; "
        "print_figures(int(os.environ.get('RANK', 0)), int(os.environ.get('WORLD_SIZE', 1)))"
    )
    (one,) = forks.run("-c", program)
    assert one.returncode == 0 and "iou_per_image" in one.stdout, one.stderr
    for rank in forks.run("-c", program, processes=3):
        assert (rank.returncode, rank.stdout) == (0, one.stdout), rank.stderr
