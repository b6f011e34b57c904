"""What an evaluation tells of each class and of confidence, against formulas written out."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import precision_recall_fscore_support

from experiments.tasks.details import ClassDetails, MapDetails
from experiments.tasks.rows import MapMetricsConfig

CPU = torch.device("cpu")


def test_classes_and_calibration_of_several_batches() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(200, 4, generator=generator)
    targets = torch.randint(0, 3, (200,), generator=generator)  # class 3 does not occur
    details = ClassDetails("abcd", CPU)
    for part in (slice(0, 60), slice(60, 60), slice(60, 200)):
        details.update(logits[part], targets[part])
    found = details.compute()
    expected = precision_recall_fscore_support(targets, logits.argmax(1), zero_division=0)
    for key, values in zip(("precision", "recall", "f1", "images"), expected, strict=True):
        assert [row[key] for row in found["classes"]] == pytest.approx(list(values), abs=1e-6)
    assert [row["class"] for row in found["classes"]] == list("abcd")
    confidence, guesses = logits.double().softmax(1).max(1)
    error = 0.0
    for number in range(15):
        inside = (confidence * 15).long() == number
        row = found["reliability"][number]
        assert row["images"] == int(inside.sum())
        if row["images"]:
            right = float((guesses == targets)[inside].double().mean())
            assert row["accuracy"] == pytest.approx(right)
            error += row["images"] / 200 * abs(right - float(confidence[inside].mean()))
    assert found["figures"]["calibration_error"] == pytest.approx(error, abs=1e-6)


def test_sure_and_wrong_is_an_error_of_one() -> None:
    details = ClassDetails("ab", CPU)
    details.update(torch.tensor([[50.0, -50.0]]), torch.tensor([1]))
    found = details.compute()
    assert found["figures"]["calibration_error"] == pytest.approx(1)
    assert found["reliability"][-1] == {
        "low": pytest.approx(14 / 15), "high": 1.0, "images": 1, "confidence": 1.0, "accuracy": 0.0,
    }  # fmt: skip


def test_masks_by_class_without_ignored_pixels() -> None:
    masks = torch.tensor([[[0, 0, 1, 1, 255]]])
    guesses = torch.tensor([[0, 1, 1, 1, 2]])
    maps = torch.nn.functional.one_hot(guesses, 4).movedim(-1, 0)[None].float()
    details = MapDetails(["ground", "cell", "dust", "none"], MapMetricsConfig(), 255, CPU)
    details.update(maps, masks)
    rows = details.compute()["classes"]
    assert rows[0] == {"class": "ground", "iou": 0.5, "dice": pytest.approx(2 / 3),
                       "precision": 1.0, "recall": 0.5, "pixels": 2}  # fmt: skip
    assert rows[1]["iou"] == pytest.approx(2 / 3) and rows[1]["precision"] == pytest.approx(2 / 3)
    assert rows[2]["iou"] is None and rows[3]["recall"] is None
    assert not any(isinstance(v, float) and math.isnan(v) for row in rows for v in row.values())
