"""Every pixel is of one class: cross entropy, Dice and their kin, IoU, pictures of masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from experiments.config.schema import Config
from experiments.data.admit import targets_to_check
from experiments.data.containers import Datasets
from experiments.data.info import describe_images
from experiments.data.mask_transforms import mask_recipe
from experiments.data.masks import (
    MASK,
    class_mask,
    count_pixels,
    require_targets,
    target_kind,
    wrong_label,
)
from experiments.data.recipe import Recipe
from experiments.errors import ConfigError, DataError
from experiments.tasks.base import Picture, Predict
from experiments.tasks.details import MapDetails
from experiments.tasks.images import ImageTask
from experiments.tasks.map_answers import MapAnswers
from experiments.tasks.map_losses import MapLoss
from experiments.tasks.map_metrics import MapMetrics, check_map_monitor, image_iou
from experiments.tasks.maps import num_maps, valid_of
from experiments.tasks.overlays import plot_overlays
from experiments.tasks.rows import SegmentationConfig
from experiments.tasks.windows import run_padded, segment, size_divisor


class Segmentation(ImageTask):
    """Images (B, C, *S) and masks (B, *S) of class indices; logits (B, K, *S).

    K is the number of classes; for two it is 1, whose sigmoid is the probability of class 1. A
    model may return a tuple of maps in training (deep supervision): the loss is the sum of those of
    all of them, times loss.output_weights, and the first is the prediction.

    Sides that the model's `size_divisor` does not divide are padded, and its maps cut. With
    task.window, larger images are evaluated in parts; see experiments.tasks.windows.

    Raises:
        ConfigError: an impossible loss or trainer.monitor for these classes.
        DataError: targets that are no masks, or values in them that are no classes.
    """

    answers = MapAnswers

    def __init__(self, config: Config, datasets: Datasets) -> None:
        super().__init__(config, datasets)
        way = "choose masks, for example data=canvas, or train a classifier with cifar.py"
        require_targets(target_kind(datasets.train), MASK, way)
        self.info = describe_images(datasets.train, config.data)
        self.class_names, self.ignore_index = self.info.class_names, self.info.batch_ignore_index
        self.num_outputs = num_maps(len(self.class_names))
        self.input_shape = self.info.shape
        self.loss = MapLoss(
            config.loss,
            len(self.class_names),
            self.ignore_index,
            lambda: count_pixels(datasets.train, len(self.class_names), self.info.ignore_index),
        )
        self.divisor = 1

    def recipe(self, training: bool) -> Recipe:
        return mask_recipe(self.info, self.config.augment if training else None)

    def passed_shapes(self) -> dict[str, tuple[int, ...]]:
        (channels, *sides), found = self.input_shape, super().passed_shapes()
        options = self.config.task
        assert isinstance(options, SegmentationConfig)
        if options.window is None or max(sides) <= options.window:
            return found
        if "augment.size" in found:  # then whole images never pass
            del found["data.image_size"]
        return {"task.window": (channels, *(min(options.window, s) for s in sides)), **found}

    def computed_shape(self, model: nn.Module) -> tuple[int, ...]:
        divisor, (channels, *sides) = size_divisor(model), next(iter(self.passed_shapes().values()))
        return (channels, *(-(-side // divisor) * divisor for side in sides))

    def check_target(self, target: Any) -> str | None:
        try:
            return wrong_label(class_mask(target), len(self.class_names), self.info.ignore_index)
        except DataError as error:
            return str(error)

    def check_data(self, datasets: Datasets) -> None:
        super().check_data(datasets)
        ignored = self.info.ignore_index
        for split, dataset in zip(Datasets._fields, datasets, strict=True):
            masks = [class_mask(mask) for _, mask in targets_to_check(dataset)]
            if masks and not any(valid_of(mask, ignored).any() for mask in masks):
                raise DataError(
                    f"all pixels of the {len(masks)} {split} masks looked at are {ignored}, which "
                    "are ignored: nothing is left to learn or judge"
                )

    def attach(self, model: nn.Module) -> None:
        super().attach(model)
        self.divisor = size_divisor(model)

    def check_model(self, model: nn.Module, inputs: Tensor) -> None:
        outputs = run_padded(model, inputs, size_divisor(model))
        self.check_shapes(outputs, (len(inputs), self.num_outputs, *inputs.shape[2:]), "maps")
        weights = self.config.loss.output_weights
        count = len(outputs) if isinstance(outputs, (tuple, list)) else 1
        if weights is not None and len(weights) != count:
            raise ConfigError(
                f"loss.output_weights has {len(weights)} weights: must hold one per output of "
                f"{self.config.model['name']} in training, and there are {count}"
            )

    # ------------------------------------------------------------------------------------- the loss
    def training_loss(
        self, model: Callable[[Tensor], Any], inputs: Tensor, targets: Any
    ) -> tuple[Tensor, Any, dict[str, Tensor]]:
        return super().training_loss(
            lambda images: run_padded(model, images, self.divisor), inputs, targets
        )

    def evaluation_loss(
        self, model: Callable[[Tensor], Any], inputs: Tensor, targets: Any
    ) -> tuple[Tensor, Any]:
        options = self.config.task
        assert isinstance(options, SegmentationConfig)
        return super().evaluation_loss(
            lambda images: segment(
                model, images, window=options.window, overlap=options.overlap, divisor=self.divisor
            ),
            inputs,
            targets,
        )

    def criterion(self, outputs: Tensor, targets: Tensor) -> Tensor:
        loss: Tensor = self.loss(outputs, targets)
        return loss

    def _criterion(self, outputs: Any, targets: Any) -> tuple[Tensor, Tensor]:
        """sum_i w_i criterion(output_i), of all outputs of a model, and the first of them."""
        if not isinstance(outputs, (tuple, list)):
            return self.criterion(outputs, targets), outputs
        weights = self.config.loss.output_weights or [1.0] * len(outputs)
        pairs = zip(weights, outputs, strict=True)
        losses = [weight * self.criterion(output, targets) for weight, output in pairs]
        return torch.stack(losses).sum(), outputs[0]

    # ---------------------------------------------------------------------------------- the figures
    def metrics(self, device: torch.device) -> MapMetrics:
        return MapMetrics(self.class_names, self.config.metrics, self.ignore_index, device)

    def details(self, device: torch.device) -> MapDetails:
        return MapDetails(self.class_names, self.config.metrics, self.ignore_index, device)

    def published(self, values: Mapping[str, float]) -> dict[str, float | None]:
        """IoU and Dice in percent."""
        return {name: round(100 * values[name], 4) for name in ("iou", "dice") if name in values}

    def running(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The sum of the images' IoU."""
        valid, background = valid_of(targets, self.ignore_index), self.config.metrics.background
        return image_iou(outputs, targets, valid, len(self.class_names), background).sum()

    def check_monitor(self) -> None:
        check_map_monitor(str(self.config.trainer.monitor), self.config.metrics)

    # -------------------------------------------------------------------------------------- the end
    def record(self, metrics: Any) -> dict[str, Any]:
        return {
            "class_names": list(self.class_names),
            "iou_by_class": metrics.iou_by_class(),
            "examples": metrics.examples(),
        }

    def pictures_of(self, test: Mapping[str, Any], predict: Predict) -> dict[str, Picture]:
        examples = test["examples"]
        if not examples["worst"]:
            return {}
        return {"overlays": lambda path: plot_overlays(examples, predict, self.info, path)}

    def summary(self, values: Mapping[str, float]) -> list[tuple[str, str]]:
        """Figures first, then the classes by name."""
        return sorted(super().summary(values), key=lambda row: "/" in row[0])
