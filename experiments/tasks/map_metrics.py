"""Metrics of masks over an evaluation, exact over any number of processes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from experiments.data.extras import import_extra
from experiments.errors import ConfigError
from experiments.tasks.maps import classes_of, one_hot, valid_of
from experiments.tasks.rows import MapMetricsConfig

COLUMNS = ("index", "iou_per_image", "dice_per_image", "hausdorff95")  # of what an image leaves


class MapMetrics:
    """Gathers maps of logits and masks, and computes the figures of all images.

    With TP_c, P_c, T_c the pixels of class c that were found, predicted and true,
      IoU_c = TP_c / (P_c + T_c - TP_c),  Dice_c = 2 TP_c / (P_c + T_c).
    compute() returns, as fractions in [0, 1]:
      iou, dice: means over classes, of counts summed over the set; iou/<class> are its terms;
      iou_per_image, dice_per_image: means over images, of the mean over classes in each of them;
      pixel_accuracy: sum_c TP_c / sum_c T_c, of all classes;
    and in pixels, with cfg.hausdorff, the mean over images of the mean over classes of
      hausdorff95: the 95th percentile of the distances between the borders of truth and prediction
      (MONAI's); of a class that only one of both has, the diagonal of the maps.

    A class that occurs neither in truth nor prediction (of the set, or of the image) is in no mean;
    one that is only predicted counts 0. So an empty mask that is found empty is judged by its
    background, and is in no mean if cfg.background is false. A figure over nothing is left out.
    Without cfg.background class 0 is in no mean. Ignored pixels do not exist.

    Costs: three counts for each class, and four numbers for each image; no mask is kept.

    With torch.distributed initialised, compute() and examples() must be called on every rank, and
    return the same on each: images are added up in their order, whoever has seen them.

    Shapes: maps (B, K, *S); masks (B, *S) int64.
    Raises: DataError: cfg.hausdorff, and MONAI is not installed.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        cfg: MapMetricsConfig,
        ignore_index: int | None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.class_names, self.cfg = list(class_names), cfg
        self.counts = MapCounts(len(class_names), cfg, ignore_index).to(device)

    @torch.no_grad()
    def update(self, maps: Tensor, masks: Tensor) -> None:
        """Take in one batch of this process."""
        if len(masks):
            self.counts.update(maps.detach(), masks)

    def compute(self) -> dict[str, float]:
        """The figures over every image, of all processes."""
        counts, images = self._computed()
        found, _, true = counts.double()
        values = {}
        for name, value in zip(("iou", "dice"), _scores(counts, self.cfg.background), strict=True):
            values[name] = float(value.nanmean())
        for column, name in enumerate(COLUMNS[1:], start=1):
            values[name] = float(images[:, column].nanmean())
        values["pixel_accuracy"] = float(found.sum() / true.sum())
        if self.cfg.per_class:
            values |= {f"iou/{name}": value for name, value in self.iou_by_class().items()}
        return {name: value for name, value in values.items() if not math.isnan(value)}

    def iou_by_class(self) -> dict[str, float]:
        """IoU over the set of every class that counts; NaN of one that does not occur."""
        iou, _ = _scores(self._computed()[0], background=True)
        first = 0 if self.cfg.background else 1
        unique = len(set(self.class_names)) == len(self.class_names)
        return {
            name if unique else f"{index} {name}": float(iou[index])
            for index, name in enumerate(self.class_names)
            if index >= first
        }

    def examples(self, most: int = 3) -> dict[str, list[dict[str, float]]]:
        """The worst, the median and the best images by their IoU, each with index and IoU."""
        images = self._computed()[1]
        images = images[~images[:, 1].isnan()]
        ranked = images[images[:, 1].sort(stable=True).indices]
        count = min(most, max(len(ranked) // 3, 1))
        middle = (len(ranked) - count) // 2
        parts = {
            "worst": ranked[:count],
            "median": ranked[middle : middle + count],
            "best": ranked[-count:].flip(0),
        }
        return {
            name: [{"index": int(row[0]), "iou": float(row[1])} for row in rows]
            for name, rows in parts.items()
        }

    def _computed(self) -> tuple[Tensor, Tensor]:
        with warnings.catch_warnings():  # a process with no image of the set is no mistake
            warnings.simplefilter("ignore", UserWarning)
            return self.counts.compute()


class MapCounts(Metric):
    """Counts (found, predicted, true) of each class over the set, and COLUMNS of each image.

    compute() returns both on the CPU: (3, C) int64, and (N, 4) float64 in the order of the images.
    """

    full_state_update = False
    counts: Tensor
    images: list[Tensor]

    def __init__(self, num_classes: int, cfg: MapMetricsConfig, ignore_index: int | None) -> None:
        super().__init__()
        self.num_classes, self.cfg, self.ignore_index = num_classes, cfg, ignore_index
        self.distance = None
        if cfg.hausdorff:
            monai = import_extra("monai", "metrics.hausdorff=true")
            self.distance = monai.metrics.compute_hausdorff_distance
        zeros = torch.zeros(3, num_classes, dtype=torch.int64)
        self.add_state("counts", default=zeros, dist_reduce_fx="sum")
        self.add_state("images", default=[], dist_reduce_fx="cat")
        self.reset()

    def reset(self) -> None:
        super().reset()
        # Never an empty list: gathering needs the shape and dtype on ranks without samples, too.
        shape = (0, len(COLUMNS))
        self.images.append(torch.empty(shape, dtype=torch.float64, device=self.device))
        self.seen = 0  # images of this process

    def update(self, maps: Tensor, masks: Tensor) -> None:
        valid, guesses = valid_of(masks, self.ignore_index), classes_of(maps)
        counts = count_classes(guesses, masks, valid, self.num_classes)
        self.counts += counts.sum(0).T
        # float64 on the CPU: not every device has it, and these are few numbers
        index = self._indices(len(masks))
        iou, dice = (s.nanmean(1) for s in _scores(counts.cpu().movedim(2, 0), self.cfg.background))
        far = self._distances(guesses, masks, valid)
        rows = torch.stack((index, iou, dice, far), dim=1)
        self.images.append(rows.to(self.device))

    def compute(self) -> tuple[Tensor, Tensor]:
        # Synchronising leaves a tensor where there was a list.
        images = torch.cat(self.images) if isinstance(self.images, list) else self.images
        images = images.cpu()
        return self.counts.cpu(), images[images[:, 0].sort().indices]

    def _indices(self, count: int) -> Tensor:
        """The places in the set of the next images of this process: as EvaluationLoader deals."""
        ready = torch.distributed.is_available() and torch.distributed.is_initialized()
        rank, world = (
            (torch.distributed.get_rank(), torch.distributed.get_world_size()) if ready else (0, 1)
        )
        first, self.seen = self.seen, self.seen + count
        return torch.arange(first, self.seen, dtype=torch.float64) * world + rank

    def _distances(self, guesses: Tensor, masks: Tensor, valid: Tensor) -> Tensor:
        """Of every image the mean over its classes of the 95 % Hausdorff distance. Shape: (B,)"""
        if self.distance is None:
            return torch.full((len(masks),), torch.nan, dtype=torch.float64)
        first = 0 if self.cfg.background else 1
        mine, true = (
            one_hot(labels, valid, self.num_classes)[:, first:].cpu() for labels in (guesses, masks)
        )
        has_mine, has_true = (maps.flatten(2).any(2) for maps in (mine, true))
        diagonal = math.sqrt(sum((side - 1) ** 2 for side in masks.shape[1:]))
        distances = torch.full(has_mine.shape, torch.nan, dtype=torch.float64)
        distances[has_mine ^ has_true] = diagonal
        with warnings.catch_warnings():  # MONAI warns of its own calls of itself
            warnings.simplefilter("ignore", FutureWarning)
            for b, c in (has_mine & has_true).nonzero().tolist():
                pair = (maps[b, c][None, None] for maps in (mine, true))
                distances[b, c] = self.distance(*pair, include_background=True, percentile=95)
        return distances.nanmean(1)


def count_classes(guesses: Tensor, masks: Tensor, valid: Tensor, num_classes: int) -> Tensor:
    """Of every image and class the pixels found, predicted and true.

    Shapes: guesses, masks, valid (B, *S) -> (B, C, 3) int64.
    """
    image = torch.arange(len(masks), device=masks.device).reshape(-1, *[1] * (masks.dim() - 1))

    def count(classes: Tensor, where: Tensor) -> Tensor:
        cells = (image * num_classes + classes)[where]
        counts = torch.bincount(cells, minlength=len(masks) * num_classes)
        return counts.reshape(len(masks), num_classes)

    found = count(masks, valid & (guesses == masks))
    return torch.stack((found, count(guesses, valid), count(masks, valid)), dim=2)


def _scores(counts: Tensor, background: bool) -> tuple[Tensor, Tensor]:
    """(IoU, Dice) of counts in float64; NaN where a class does not occur, or does not count.

    Shapes: (3, *B, C) -> (*B, C).
    """
    found, predicted, true = counts.double()
    both = (predicted + true).where(predicted + true > 0, torch.nan)
    if not background:
        both[..., 0] = torch.nan
    return found / (both - found), 2 * found / both


def image_iou(maps: Tensor, masks: Tensor, valid: Tensor, classes: int, background: bool) -> Tensor:
    """The IoU of every image, 0 where it has none: what training shows. Shape: (B,)"""
    counts = count_classes(classes_of(maps), masks, valid, classes)
    iou, _ = _scores(counts.movedim(2, 0), background)
    return iou.nanmean(1).nan_to_num(0.0)


def check_map_monitor(monitor: str, cfg: MapMetricsConfig) -> None:
    """Refuse a figure that is not computed. Raises: ConfigError."""
    if monitor == "hausdorff95" and not cfg.hausdorff:
        raise ConfigError(
            "trainer.monitor=hausdorff95: it is not computed, since it is slow; type "
            "metrics.hausdorff=true, or trainer.monitor=iou"
        )
