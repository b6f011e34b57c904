"""Figures of images with several labels, over an evaluation, by torchmetrics."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torchmetrics.functional.classification import (
    multilabel_average_precision,
    multilabel_exact_match,
    multilabel_f1_score,
    multilabel_precision_recall_curve,
)

from experiments.tasks.gathered import Gathered
from experiments.tasks.rows import LabelMetricsConfig

POINTS = 100  # of a curve that is recorded
DRAWN = 20  # labels whose curves are


class LabelMetrics:
    """compute() returns, over all images of all processes:

    map: the mean over labels of their average precision sum_k (R_k - R_{k-1}) P_k; f1_macro and
    f1_micro, of what is above metrics.threshold: the mean over labels, and of all decisions
    together; exact_match: the share of images all of whose labels are right; with
    metrics.per_label ap/<label> and f1/<label>. Labels that no image has count in f1_micro and
    exact_match alone.

    Costs: every logit is kept, N x L numbers.

    Shapes: logits (B, L), targets (B, L) of 0 and 1.
    """

    def __init__(
        self, names: Sequence[str], cfg: LabelMetricsConfig, device: torch.device | str = "cpu"
    ) -> None:
        self.names, self.cfg = list(names), cfg
        self.gathered = Gathered(len(names), torch.int64).to(device)

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Take in one batch of this process; a mixed target counts from 1/2."""
        self.gathered.update(logits, targets > 0.5)

    def compute(self) -> dict[str, float]:
        """The figures; on all processes."""
        scores, targets = self._all()
        options: dict[str, Any] = {"num_labels": len(self.names), "threshold": self.cfg.threshold}
        values = {
            "f1_micro": multilabel_f1_score(scores, targets, average="micro", **options),
            "exact_match": multilabel_exact_match(scores, targets, **options),
        }
        figures = {name: float(value) for name, value in values.items()}
        by_label = self.by_label()
        for mean, each in (("map", "ap"), ("f1_macro", "f1")):
            known = [label[each] for label in by_label.values() if label["share"]]
            if known:
                figures[mean] = sum(known) / len(known)
        if self.cfg.per_label:
            for each in ("ap", "f1"):
                figures |= {f"{each}/{n}": by[each] for n, by in by_label.items() if by["share"]}
        return figures

    def by_label(self) -> dict[str, dict[str, float]]:
        """{label: its average precision, F1 and the share of images that have it}."""
        scores, targets = self._all()
        options: dict[str, Any] = {"num_labels": len(self.names), "average": None}
        with _labels_without_images():
            precision = multilabel_average_precision(scores, targets, **options)
        f1 = multilabel_f1_score(scores, targets, threshold=self.cfg.threshold, **options)
        share = targets.double().mean(0)
        columns = [values.tolist() for values in (precision.nan_to_num(), f1, share)]
        return {
            name: dict(zip(("ap", "f1", "share"), values, strict=True))
            for name, *values in zip(self.names, *columns, strict=True)
        }

    def curves(self) -> dict[str, dict[str, list[float]]]:
        """Recall and precision at 100 thresholds of each of the first labels that images have."""
        scores, targets = self._all()
        with _labels_without_images():
            precision, recall, _ = multilabel_precision_recall_curve(
                scores, targets, num_labels=len(self.names)
            )
        present = [label for label in range(len(self.names)) if targets[:, label].any()]
        found = {}
        for label in present[:DRAWN]:
            count = len(recall[label])
            at = torch.linspace(0, count - 1, min(count, POINTS)).round().long()
            pairs = (("recall", recall[label]), ("precision", precision[label]))
            found[self.names[label]] = {key: values[at].tolist() for key, values in pairs}
        return found

    def _all(self) -> tuple[Tensor, Tensor]:
        """Probabilities in float64, and targets."""
        logits, targets = self.gathered.all()
        return logits.double().sigmoid(), targets


@contextmanager
def _labels_without_images() -> Iterator[None]:
    """Their figures are left out here; torchmetrics would warn of each in every epoch."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No positive samples")
        yield
