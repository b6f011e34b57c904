"""Segmentation: U-networks of every kind beside their plain twins of equal parameters.

Digits on textured canvases of 64x64, one or two of which may overlap: eleven classes with the
background. One recipe for all, that of experiment=segmentation_quickstart, whose network is the one
of UKAGNet here: AdamW at 1e-2 with a one-cycle schedule, batches of 8, a moving average of the
weights, seven epochs of 3,600 canvases, one thread. The figure is IoU over the test set, the mean
of its classes.
"""

from __future__ import annotations

from experiments.studies.command import run
from experiments.studies.study import Data, Family, Study

KINDS = {"kan": "KAN", "plain": "plain twin"}
RECIPE = (
    "augment=none", "optimizer=adamw", "optimizer.lr=1e-2", "optimizer.weight_decay=1e-2",
    "scheduler=onecycle", "trainer.batch_size=8", "trainer.ema_decay=0.99", "trainer.threads=1",
    "trainer.cpu=true",
)  # fmt: skip
CANVAS = (
    "data=canvas", "data.source=digits", "data.image_size=64", "data.count=5000", "data.objects=2",
    "trainer.epochs=7",
)  # fmt: skip
DATA = {"canvas": Data("digits on canvases", CANVAS)}


def _twins(kan: str, plain: str) -> dict[str, str]:
    return dict(zip(KINDS, (kan, plain), strict=True))


# Widths at which a run takes from 8 to 25 minutes of a core. The splines of UKANet are given values
# of unit variance: their grid must reach as far. Images of 64x64 are 16 and 4 tokens in U-KAN: they
# are narrower than the published ones, so that more of its parameters are in convolutions.
FAMILIES = {
    "UKAGNet": Family(
        _twins("ukagnet", "unet"), ("depth=5", "layers=1"),
        widths={"small": ("degree=2", "width_scale=0.5")},
    ),
    "UKANet": Family(
        _twins("ukanet_18", "unet_18"), ("blocks=[1,1,1,1]",),
        own={"kan": ("grid_size=2", "spline_order=2", "grid_range=[-3,3]")},
    ),
    "U2KAGNet": Family(
        _twins("u2kagnet_small", "u2net_small"),
        widths={"small": ("width_scale=0.5", "degree=2")},
    ),
    "U-KAN": Family(
        _twins("ukan", "ukan_linear"), ("channels=[128,64,96]",),
    ),
}  # fmt: skip
SEGMENTATION = Study(
    "segmentation", __doc__ or "", DATA, KINDS, FAMILIES, RECIPE, script="segmentation"
)

if __name__ == "__main__":
    raise SystemExit(run(SEGMENTATION))
