"""Classification metrics over an epoch, exact over any number of processes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    MulticlassRecall,
)

from experiments.config.checks import require
from experiments.tasks.rows import MetricsConfig

TOP = 5  # the largest logits, of top5_accuracy


class ClassificationMetrics:
    """Accumulates logits and targets of an epoch and computes the metrics over all of them.

    compute() returns, as fractions in [0, 1]:
      accuracy, top5_accuracy (more than 5 classes only);
      recall_macro, recall_micro, f1_macro, f1_micro, where macro means average over the classes
      that occur in the targets or the predictions;
      auc_ovr, auc_ovo: the mean, over classes present in the targets, of the area under the curve
      of a class against the rest, and of each ordered pair of present classes against one another
      (see `Auc`). Left out with more than cfg.auc_max_classes classes (they keep every logit), with
      fewer than two classes present, and if a logit is not finite.

    Costs: O(B C) of time and O(B + C) of memory per batch, but O(C^2) for the confusion matrix,
    which is left out with more than cfg.confusion_max_classes classes, and O(N C) for the AUCs.

    With torch.distributed initialised, compute() and confusion_matrix() must be called on every
    rank and return the values over all ranks' samples, whose numbers may differ (0 included).

    Shapes: logits (B, C); targets (B,) int, or (B, C) soft, of which the largest entry counts.
    Raises:
        ConfigError: fewer than 2 classes.
    """

    def __init__(
        self, num_classes: int, cfg: MetricsConfig, device: torch.device | str = "cpu"
    ) -> None:
        require(num_classes >= 2, "num_classes", num_classes, "classification needs 2 or more")
        labels: Any = {"num_classes": num_classes, "validate_args": False}
        metrics: dict[str, Metric | MetricCollection] = {
            "accuracy": MulticlassAccuracy(average="micro", **labels),
            "recall_micro": MulticlassRecall(average="micro", **labels),
            "recall_macro": RecallByClass(average="macro", **labels),
            "f1_micro": MulticlassF1Score(average="micro", **labels),
            "f1_macro": F1ByClass(average="macro", **labels),
        }
        if num_classes > TOP:
            metrics["top5_accuracy"] = TopAccuracy(average="micro", **labels)
        if num_classes <= cfg.auc_max_classes:
            metrics["auc"] = Auc(num_classes)
        if num_classes <= cfg.confusion_max_classes:
            metrics["confusion"] = MulticlassConfusionMatrix(**labels)
        # Compute groups would share state between metrics, and `state` could not tell whose it is.
        self.metrics = MetricCollection(metrics, compute_groups=False).to(device)

    @torch.no_grad()
    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Take in one batch of this process."""
        if targets.dim() == 2:
            targets = targets.argmax(dim=1)
        if len(targets) == 0:  # torchmetrics cannot reshape an empty batch
            return
        logits, targets = logits.detach().float(), targets.long()
        with integer_counts():  # each metric takes the arguments that its update names
            self.metrics.update(
                preds=logits.argmax(dim=1), target=targets, logits=logits, targets=targets
            )

    def compute(self) -> dict[str, float]:
        """The metrics over every sample since the last reset, of all processes."""
        results = {}
        for name, metric in self.metrics.items():
            if name == "auc":
                ovr, ovo = computed(metric).tolist()
                results.update({} if math.isnan(ovr) else {"auc_ovr": ovr, "auc_ovo": ovo})
            elif name != "confusion":
                results[name] = float(computed(metric))
        return results

    def confusion_matrix(self) -> Tensor | None:
        """Counts (C, C), int64, on the CPU: row = target, column = prediction; None of too many."""
        if "confusion" not in self.metrics:
            return None
        return computed(self.metrics["confusion"]).cpu()

    def reset(self) -> None:
        """Forget every sample."""
        self.metrics.reset()


def check_monitor(monitor: str, num_classes: int, cfg: MetricsConfig) -> None:
    """Refuse a metric that cannot exist for this number of classes.

    Raises:
        ConfigError: monitor is the top-5 accuracy of five classes or fewer, or an AUC of more than
            cfg.auc_max_classes classes -> the number of classes and what to type.
    """
    if monitor == "top5_accuracy":
        rule = f"needs more than {TOP} classes, the data has {num_classes}"
        require(
            num_classes > TOP, "trainer.monitor", monitor, f"{rule}; type trainer.monitor=accuracy"
        )
    if monitor.startswith("auc"):
        rule = f"is left out with more than metrics.auc_max_classes={cfg.auc_max_classes} classes"
        way = f"type metrics.auc_max_classes={num_classes}"
        require(num_classes <= cfg.auc_max_classes, "trainer.monitor", monitor, f"{rule}; {way}")


@contextmanager
def integer_counts() -> Iterator[None]:
    """Suspend torch's deterministic mode: sums of integers are exact in any order.

    In that mode torchmetrics counts a confusion matrix by a (B, C^2) comparison, 2 GB for 256
    samples of 1000 classes, and CUDA has no other way to add at indices.
    """
    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)


def computed(metric: Metric) -> Tensor:
    """metric.compute(), also on a rank that had no samples of its own."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The ``compute`` method of metric")
        value: Tensor = metric.compute()
    return value


class CountedByClass:
    """The counts of torchmetrics' macro averages, in O(B + C) instead of a (C, C) matrix a batch.

    tp_c = #(guess = target = c), fp_c = #(guess = c) - tp_c, fn_c = #(target = c) - tp_c. Sums over
    processes, averages and divisions by zero stay torchmetrics'.

    Shapes: preds, target (B,) int64, as classes.
    """

    def update(self: Any, preds: Tensor, target: Tensor) -> None:
        def count(classes: Tensor, weight: Tensor) -> Tensor:
            return weight.new_zeros(self.num_classes).scatter_add_(0, classes, weight)

        one = torch.ones_like(target)
        tp = count(target, (preds == target).long())
        fp, fn = count(preds, one) - tp, count(target, one) - tp
        self._update_state(tp, fp, len(target) - tp - fp - fn, fn)


class RecallByClass(CountedByClass, MulticlassRecall):
    """Recall by the counts of each class."""


class F1ByClass(CountedByClass, MulticlassF1Score):
    """F1 by the counts of each class."""


class TopAccuracy(MulticlassAccuracy):
    """Share of the targets among the TOP largest logits; torchmetrics' own makes them (B, C) masks.

    Shapes: logits (B, C), targets (B,).
    """

    def update(self, logits: Tensor, targets: Tensor) -> None:
        largest = logits.topk(TOP, dim=1).indices
        found = (largest == targets.unsqueeze(1)).any(dim=1)
        super().update(torch.where(found, targets, largest[:, 0]), targets)


class Auc(Metric):
    """Area under the ROC curve, (one versus rest, one versus one), of the classes present.

    With A(a|b) from `pairwise_auc`, n_b samples of class b and m classes present,
      ovr = 1/m sum_a ( sum_{b != a} n_b A(a|b) / sum_{b != a} n_b )
      ovo = 1/(m (m-1)) sum_a sum_{b != a} A(a|b)
    (nan, nan) if m < 2 or a logit is not finite.

    Numerics: every logit is kept, and softmax and sums are taken in float64.
    Source: ovo is Hand and Till 2001, eq. 7; both equal scikit-learn's roc_auc_score, whose loop
        over pairs takes 15 s for 100 classes and 10 000 samples.
    """

    full_state_update = False
    logits: list[Tensor]
    targets: list[Tensor]

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.add_state("logits", default=[], dist_reduce_fx="cat")
        self.add_state("targets", default=[], dist_reduce_fx="cat")
        self.reset()

    def reset(self) -> None:
        super().reset()
        # Never an empty list: gathering needs the shape and dtype on ranks without samples, too.
        self.logits.append(torch.empty(0, self.num_classes, device=self.device))
        self.targets.append(torch.empty(0, dtype=torch.long, device=self.device))

    def update(self, logits: Tensor, targets: Tensor) -> None:
        self.logits.append(logits.clone())
        self.targets.append(targets.clone())

    def compute(self) -> Tensor:
        # Synchronising leaves tensors where there were lists.
        logits, targets = (
            torch.cat(value) if isinstance(value, list) else value
            for value in (self.logits, self.targets)
        )
        logits, targets = logits.cpu(), targets.cpu()  # deterministic sums, and little to compute
        present = targets.unique()
        if len(present) < 2 or not logits.isfinite().all():
            return torch.full((2,), torch.nan, dtype=torch.float64)
        A, n = pairwise_auc(logits.double().softmax(dim=1), targets, present)
        others = n * (1 - torch.eye(len(present), dtype=n.dtype, device=n.device))
        ovr = ((A * others).sum(dim=1) / others.sum(dim=1)).mean()
        ovo = A.sum() / (len(present) * (len(present) - 1))
        return torch.stack((ovr, ovo))


def pairwise_auc(scores: Tensor, targets: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """A[a, b] = P(s_a(i) > s_a(j)) + P(s_a(i) = s_a(j)) / 2 for i in class a, j in class b; and n.

    Shapes: scores (N, C), targets (N,), present (m,) the classes that occur, ascending
        -> A (m, m) with a diagonal of 0, n (m,) samples per class.
    """
    _, index, counts = targets.unique(return_inverse=True, return_counts=True)
    n = counts.to(scores.dtype)
    A = scores.new_zeros(len(present), len(present))
    for row, a in enumerate(present.tolist()):
        column = scores[:, a].contiguous()
        positive = column[targets == a].sort().values
        not_above = torch.searchsorted(positive, column, right=True)
        below = torch.searchsorted(positive, column)
        above = (
            n[row] - (not_above + below).to(n.dtype) / 2
        )  # positives above each score, ties as halves
        A[row].scatter_add_(0, index, above)
        A[row] /= n[row] * n
        A[row, row] = 0
    return A, n
