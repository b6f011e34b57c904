"""Every image has any number of labels: binary cross entropy, average precision and F1 by label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.config.losses import BCEConfig
from experiments.config.schema import Config
from experiments.data.admit import targets_to_check
from experiments.data.containers import Datasets
from experiments.data.info import describe_images
from experiments.data.labels import shown
from experiments.data.masks import MASK, target_kind
from experiments.data.notes import join_names, say
from experiments.data.recipe import Recipe
from experiments.errors import DataError
from experiments.tasks.answers import LabelAnswers
from experiments.tasks.base import Picture
from experiments.tasks.images import ReadTask, image_recipe, require_free_outputs
from experiments.tasks.label_metrics import LabelMetrics
from experiments.tasks.losses import at_least_float32
from experiments.tasks.precision_recall import plot_precision_recall

_RULE = "a vector of 0 and 1, one for each label, or a list of the labels that it has"


class Multilabel(ReadTask):
    """Images (B, C, H, W) and 0/1 vectors (B, L); logits (B, L), a sigmoid for each label.

    loss = mean over b, l of -(t log s + (1 - t) log(1 - s)), with s = sigmoid(logits). A target is
    a vector of 0 and 1, or a list, tuple or set of label names or indices; of lists that are all of
    one length and hold 0 and 1 alone, vectors.

    Raises: DataError for data of another task -> which one.
    """

    answers = LabelAnswers

    def __init__(self, config: Config, datasets: Datasets) -> None:
        super().__init__(config, datasets)
        if target_kind(datasets.train) == MASK:
            raise DataError(
                "these data have a mask for each image, and the task needs labels: type "
                "task=segmentation with a network for it (python segmentation.py), or "
                "data.target=labels with data=canvas"
            )
        self.info = describe_images(datasets.train, config.data)
        targets = [target for _, target in targets_to_check(datasets.train)]
        self.class_names = label_names(datasets.train, targets, config)
        self.num_outputs = len(self.class_names)
        self.reader = ReadLabels(self.num_outputs, are_vectors(targets))
        self.input_shape = self.info.shape
        assert isinstance(config.loss, BCEConfig)
        self.loss: BCEConfig = config.loss

    def recipe(self, training: bool) -> Recipe:
        augment = self.config.augment if training else None
        return image_recipe(self.info, augment, self.reader, nothing_more)

    def check_data(self, datasets: Datasets) -> None:
        super().check_data(datasets)
        for split, dataset in zip(Datasets._fields, datasets, strict=True):
            vectors = [self.reader.one(target) for _, target in targets_to_check(dataset)]
            if not vectors:
                continue
            present = torch.stack(vectors).amax(0)
            absent = [n for n, seen in zip(self.class_names, present, strict=True) if not seen]
            if len(absent) == self.num_outputs:
                raise DataError(
                    f"none of the {len(vectors)} {split} images looked at has a label: nothing can "
                    "be learnt or judged"
                )
            if absent:
                say(f"no {split} image looked at has the labels {join_names(absent)}")

    def check_model(self, model: nn.Module, inputs: Tensor) -> None:
        require_free_outputs(model, self.config)
        self.check_shapes(model(inputs), (len(inputs), self.num_outputs), "logits")

    def criterion(self, outputs: Tensor, targets: Tensor) -> Tensor:
        t, smoothing = targets.to(at_least_float32(outputs).dtype), self.loss.label_smoothing
        if self.loss.threshold is not None:
            t = (t > self.loss.threshold).to(t.dtype)
        t = t * (1 - smoothing) + smoothing / 2
        return F.binary_cross_entropy_with_logits(at_least_float32(outputs), t)

    def metrics(self, device: torch.device) -> LabelMetrics:
        return LabelMetrics(self.class_names, self.config.metrics, device)

    def running(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The number of images all of whose labels are right; a mixed target counts from 1/2."""
        return ((outputs > 0) == (targets > 0.5)).all(1).sum()

    def record(self, metrics: Any) -> dict[str, Any]:
        return {
            "class_names": list(self.class_names),
            "by_label": metrics.by_label(),
            "precision_recall": metrics.curves(),
        }

    def pictures(self, test: Mapping[str, Any]) -> dict[str, Picture]:
        if not test.get("precision_recall"):
            return {}
        curves, figures = test["precision_recall"], test["by_label"]
        return {"precision_recall": lambda path: plot_precision_recall(curves, figures, path)}

    def summary(self, values: Mapping[str, float]) -> list[tuple[str, str]]:
        """Figures first, then the labels by name."""
        return sorted(super().summary(values), key=lambda row: "/" in row[0])


@dataclass(frozen=True)
class ReadLabels:
    """Targets as vectors of 0 and 1, float32."""

    num_labels: int
    vectors: bool

    def one(self, target: Any) -> Tensor:
        """Shape: (L,). Raises: DataError for what are no labels -> the task that would fit."""
        values = entries(target)
        if self.vectors:
            if len(values) != self.num_labels:
                raise DataError(
                    f"has {len(values)} labels, and there are {self.num_labels}: give {_RULE}"
                )
            if not set(values) <= {0, 1}:
                raise DataError(_fractions(values))
            return torch.tensor(values, dtype=torch.float32)
        wrong = [value for value in values if not (float(value).is_integer() and value >= 0)]
        if wrong:
            raise DataError(_fractions(values))
        if values and max(values) >= self.num_labels:
            raise DataError(
                f"has the label {int(max(values))}, but there are {self.num_labels} labels: they "
                f"must be 0 to {self.num_labels - 1}; set data.num_classes if there are more"
            )
        vector = torch.zeros(self.num_labels)
        vector[[int(value) for value in values]] = 1
        return vector

    def many(self, targets: Tensor) -> Tensor:
        """Shape: (B, ...) -> (B, L)."""
        if self.vectors and targets.ndim == 2:
            return targets.to(torch.float32)
        return torch.stack([self.one(target) for target in targets])


def _fractions(values: list[float]) -> str:
    return (
        f"has the target {values!r:.60}: the labels of an image are {_RULE}; type task=regression "
        "if these are numbers to be predicted"
    )


def entries(target: Any) -> list[Any]:
    """The numbers of a target. Raises: DataError for one that is no vector and no list of them."""
    if isinstance(target, (Tensor, np.ndarray)) and target.ndim == 1:
        target = target.tolist()
    if isinstance(target, (list, tuple, set, frozenset)):
        values = [value.item() if hasattr(value, "item") else value for value in target]
        if all(isinstance(value, (int, float)) for value in values):
            return sorted(values) if isinstance(target, (set, frozenset)) else values
    single = isinstance(target, (int, np.integer, str)) or (
        isinstance(target, (Tensor, np.ndarray)) and target.ndim == 0
    )
    way = "; type task=classification if each image has one class" if single else ""
    if isinstance(target, (float, np.floating)):
        way = "; type task=regression if it is a number to be predicted"
    raise DataError(f"has the target {shown(target)}: the labels of an image are {_RULE}{way}")


def are_vectors(targets: Iterable[Any]) -> bool:
    """Whether all targets are of one length, and hold 0 and 1 alone."""
    found = [entries(target) for target in targets]
    lengths = {len(values) for values in found}
    return len(lengths) == 1 and 0 not in lengths and all(set(v) <= {0, 1} for v in found)


def label_names(train: Any, targets: list[Any], config: Config) -> tuple[str, ...]:
    """The names of the labels: the dataset's, else those of its vectors or indices by number.

    Raises: DataError for targets that are no labels, and for another number of names.
    """
    try:
        vectors, found = are_vectors(targets), [entries(target) for target in targets]
    except DataError as error:
        raise DataError(f"a training image {error}") from error
    names = [str(name) for name in getattr(train, "classes", ())]
    highest = max((max(values, default=0) for values in found), default=0)
    count = len(found[0]) if vectors else max(int(highest) + 1, config.data.num_classes or 0)
    if config.data.num_classes is not None and vectors and config.data.num_classes != count:
        raise DataError(
            f"data.num_classes={config.data.num_classes}: the targets are vectors of {count} "
            f"labels; type data.num_classes=null"
        )
    if names and vectors and len(names) != count:
        raise DataError(f"the dataset names {len(names)} labels, and its targets hold {count}")
    count = max(count, len(names)) if not vectors else count
    return (*names, *(str(label) for label in range(len(names), count)))


def nothing_more(targets: Tensor) -> None:
    """Each target was looked at as it was read."""
