"""Every image is of one class: cross entropy and its kin, accuracy, a confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from experiments.config.augment import AugmentConfig
from experiments.config.data import DataConfig
from experiments.config.schema import Config
from experiments.data.containers import Datasets, ImageDataset, labels_of, offered_targets
from experiments.data.info import ImageInfo, describe_images
from experiments.data.labels import class_index
from experiments.data.masks import CLASS, require_targets
from experiments.data.notes import MANY, join_names, say
from experiments.data.recipe import Recipe
from experiments.errors import DataError
from experiments.tasks import images
from experiments.tasks.answers import ClassAnswers
from experiments.tasks.base import Picture
from experiments.tasks.confusion import plot_confusion_matrix
from experiments.tasks.details import ClassDetails
from experiments.tasks.losses import build_loss
from experiments.tasks.metrics import ClassificationMetrics, check_monitor
from experiments.tasks.rows import MetricsConfig

COSTLY = 10**9  # bytes that nobody spends on figures without a word


class Classification(images.ImageTask):
    """Images (B, C, H, W) and class indices (B,); logits (B, num_classes).

    Raises:
        ConfigError: an impossible augmentation, loss or trainer.monitor for these classes.
        DataError: data.num_classes is smaller than the labels need; see describe_images.
    """

    answers = ClassAnswers

    def __init__(self, config: Config, datasets: Datasets) -> None:
        super().__init__(config, datasets)
        self.info = describe_images(datasets.train, config.data)
        way = "type python segmentation.py, or data=NAME of a dataset of classes"
        require_targets(self.info.targets, CLASS, way)
        self.class_names = class_names(datasets.train, config.data)
        self.num_outputs = len(self.class_names)
        self.input_shape = self.info.shape
        self.loss = build_loss(
            config.loss, self.num_outputs, lambda: self.count_classes(datasets.train)
        )

    def count_classes(self, dataset: ImageDataset) -> Tensor:
        """How many images of each class there are; labels that are none are told elsewhere."""
        labels = labels_of(dataset)
        known = labels[(labels >= 0) & (labels < self.num_outputs)]
        return torch.from_numpy(np.bincount(known, minlength=self.num_outputs))

    def classes_of(self, dataset: ImageDataset) -> np.ndarray:
        return labels_of(dataset)

    def recipe(self, training: bool) -> Recipe:
        return class_recipe(self.info, self.num_outputs, self.config.augment if training else None)

    def check_target(self, target: Any) -> str | None:
        try:
            label = class_index(target)
        except DataError as error:
            return str(error)
        return None if 0 <= label < self.num_outputs else _no_class(label, self.num_outputs)

    def check_data(self, datasets: Datasets) -> None:
        super().check_data(datasets)
        tell_missing_classes(datasets, self.class_names)
        most = max(len(datasets.validation), len(datasets.test))
        tell_costs(self.config.metrics, self.num_outputs, most)

    def check_model(self, model: nn.Module, inputs: Tensor) -> None:
        self.check_shapes(model(inputs), (len(inputs), self.num_outputs), "logits")

    def criterion(self, outputs: Tensor, targets: Tensor) -> Tensor:
        loss: Tensor = self.loss(outputs, targets)
        return loss

    def metrics(self, device: torch.device) -> ClassificationMetrics:
        return ClassificationMetrics(self.num_outputs, self.config.metrics, device)

    def details(self, device: torch.device) -> ClassDetails:
        return ClassDetails(self.class_names, device)

    def published(self, values: Mapping[str, float]) -> dict[str, float | None]:
        """top1 and top5 in percent, and their errors; top5 is None of five classes or fewer."""
        found: dict[str, float | None] = {}
        for key, name in (("top1", "accuracy"), ("top5", "top5_accuracy")):
            share = values.get(name)
            found[key] = None if share is None else round(100 * share, 4)
            found[f"{key}_err"] = None if share is None else round(100 * (1 - share), 4)
        return found

    def running(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The number of hits; a mixed target counts as its largest share."""
        labels = targets.argmax(1) if targets.ndim == 2 else targets
        return (outputs.argmax(1) == labels).sum()

    def check_monitor(self) -> None:
        check_monitor(str(self.config.trainer.monitor), self.num_outputs, self.config.metrics)

    def record(self, metrics: Any) -> dict[str, Any]:
        matrix = metrics.confusion_matrix()
        counts = {} if matrix is None else {"confusion_matrix": matrix.tolist()}
        return {**counts, "class_names": list(self.class_names)}

    def pictures(self, test: Mapping[str, Any]) -> dict[str, Picture]:
        if "confusion_matrix" not in test:
            return {}
        draw = partial(plot_confusion_matrix, test["confusion_matrix"], test["class_names"])
        return {"confusion_matrix": draw}


def class_recipe(info: ImageInfo, num_classes: int, augment: AugmentConfig | None) -> Recipe:
    """Images of classes, for evaluation or, with augment, for training."""
    check = partial(check_labels, num_classes)
    return images.image_recipe(info, augment, ReadClasses(), check, num_classes)


@dataclass(frozen=True)
class ReadClasses:
    """Labels as integers, those of a batch as int64."""

    def one(self, target: Any) -> int:
        return class_index(target)

    def many(self, targets: Tensor) -> Tensor:
        return targets.long()


def check_labels(num_classes: int, targets: Tensor) -> tuple[int, str] | None:
    """The first label that is no class, and the rule; None if all are."""
    wrong = ((targets < 0) | (targets >= num_classes)).nonzero()
    if not len(wrong):
        return None
    first = int(wrong[0])
    return first, _no_class(int(targets[first]), num_classes)


def _no_class(label: int, num_classes: int) -> str:
    return (
        f"has the label {label}, but there are {num_classes} classes: labels must be 0 to "
        f"{num_classes - 1}; set data.num_classes if there are more"
    )


def tell_missing_classes(datasets: Datasets, names: Sequence[str]) -> None:
    """Say which classes have no images in a split; refuse training images of one class.

    Splits that do not offer their labels are passed over.

    Raises: DataError if all training images are of one class.
    """
    for split, dataset in zip(Datasets._fields, datasets, strict=True):
        if offered_targets(dataset) is None:
            continue
        present = np.unique(labels_of(dataset)).tolist()
        if split == "train" and len(present) < 2:
            raise DataError(
                f"all {len(dataset)} training images are of class {names[present[0]]!r}: a "
                "classifier needs two or more; give images of other classes, or a larger "
                "data.train_size"
            )
        absent = [name for label, name in enumerate(names) if label not in set(present)]
        if absent:
            several = len(absent) > 1
            rest = len(present)
            what = (
                "cannot be learnt"
                if split == "train"
                else f"macro figures are over {rest} class{'es' if rest > 1 else ''}, and those "
                "predicted by mistake"
            )
            say(
                f"class{'es' if several else ''} {join_names(absent)} "
                f"{'have' if several else 'has'} no {split} images: {what}"
            )


def tell_costs(cfg: MetricsConfig, num_classes: int, images: int) -> None:
    """Say which figures are left out of so many classes, and which need gigabytes."""
    if num_classes > cfg.confusion_max_classes:
        say(
            f"no confusion matrix: {num_classes} classes are more than "
            f"metrics.confusion_max_classes={cfg.confusion_max_classes} (a matrix of all takes "
            f"{_size(8 * num_classes**2)})"
        )
    kept = 4 * images * num_classes
    if num_classes <= cfg.auc_max_classes and kept > COSTLY:
        say(
            f"the AUCs keep the logits of an evaluation, {images} x {num_classes} numbers or "
            f"{_size(kept)}, and need five times that at its end; metrics.auc_max_classes=0 "
            "leaves them out"
        )


def _size(count: int) -> str:
    """Bytes in words."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def _count_classes(train: ImageDataset) -> int:
    if offered_targets(train) is None and len(train) > MANY:
        say(
            f"reading all {len(train)} training images to count their classes; "
            "data.num_classes=N, or an attribute `targets` of the dataset, saves this"
        )
    present = np.unique(labels_of(train))
    count, last = len(present), int(present[-1])
    if last + 1 > 2 * count:  # fewer are a warning: see tell_missing_classes
        raise DataError(
            f"the labels of the training images are {count} classes from {int(present[0])} to "
            f"{last}, with more gaps than classes: give numpy.unique(labels, return_inverse=True)"
            f"[1], or names; data.num_classes={last + 1} if there are so many classes"
        )
    return last + 1


def class_names(train: ImageDataset, cfg: DataConfig) -> tuple[str, ...]:
    """The names of the classes: the dataset's, else the labels up to the largest one.

    Raises: DataError if data.num_classes is smaller than the dataset's.
    """
    names = [str(name) for name in getattr(train, "classes", [])]
    if not names and cfg.num_classes is None:
        names = [str(label) for label in range(_count_classes(train))]
    wanted = cfg.num_classes or len(names)
    if wanted < len(names):
        raise DataError(
            f"data.num_classes={wanted}: the dataset has {len(names)} classes; "
            f"use data.num_classes={len(names)} or null"
        )
    return (*names, *(str(label) for label in range(len(names), wanted)))
