"""The zoo: every family of networks beside its plain and its SV-KAN twin of equal parameters.

The plain twin has convolutions in the places of KAN layers, the SV-KAN twin layers that share one
learned function. The plain twin of RKAN keeps its side branches, with a convolution in each.

One recipe for all: AdamW at 3e-3 with a one-cycle schedule, batches of 64, label smoothing 0.1, no
augmentation, one thread. KAConvNet and its twins learn at 1e-2, where all three have a higher
validation accuracy on digits (97.9, 99.3 and 99.3 % of seed 0, not 88.9, 98.6 and 98.6 %). Every
run ends at an image budget of about 22,000, which takes a network here about 90 seconds of one
thread.
"""

from __future__ import annotations

from pathlib import Path

from experiments.studies.command import run
from experiments.studies.study import Data, Family, Study, one_cycle

FASHION_MNIST = (Path("/usr/share/datasets/fashion-mnist"),)  # of Debian's dataset-fashion-mnist
RECIPE = one_cycle(lr="3e-3", weight_decay="1e-2")
KINDS = {"kan": "KAN", "plain": "plain twin", "svkan": "SV-KAN twin"}
DATA = {
    "digits": Data("digits", ("data=digits", "data.image_size=16", "trainer.epochs=17")),
    "mnist5k": Data("MNIST-5k", ("data=mnist5k", "trainer.epochs=6"), ("small", "large")),
    "fashion_mnist": Data(
        "Fashion-MNIST",
        ("data=fashion_mnist", "data.validation_fraction=0.02", "data.train_size=11000",
         "trainer.epochs=2"),
        places=FASHION_MNIST,
    ),
}  # fmt: skip


def _models(kan: str, plain: str, svkan: str) -> dict[str, str]:
    return dict(zip(KINDS, (kan, plain, svkan), strict=True))


# Gram polynomials of degree 3, but for KAConvNet, whose functions are its own.
FAMILIES = {
    "ResKANet": Family(
        _models("reskagnet", "resnet", "ressvkanet"),
        ("blocks=[1,1,1,1]", "stem_stride=2"),
        widths={"small": ("width_scale=0.5",), "large": ("width_scale=1.0",)},
    ),
    "DenseKANet": Family(
        _models("densekagnet", "densenet", "densesvkanet"),
        ("block_config=[2,2]", "stem_kernel=3", "stem_stride=2", "stem_pool=true", "head=linear"),
        widths={
            "small": ("growth_rate=7", "num_init_features=14"),
            "large": ("growth_rate=13", "num_init_features=26"),
        },
    ),
    "VGGKAN": Family(
        _models("vggkagn", "vgg", "vggsvkan"),
        widths={"small": ("width_scale=0.15",), "large": ("width_scale=0.25",)},
    ),
    "RDNet": Family(
        _models("kagrdnet", "rdnet", "sv_kardnet"),
        ("size=mini", "blocks=1"),
        widths={"small": ("width_scale=1.0",), "large": ("width_scale=1.75",)},
    ),
    "KAConvNet": Family(
        _models("kaconvnet", "kaconvnet_conv", "kaconvnet_svkan"),
        ("blocks=1", "stem_stride=2"),
        widths={"small": ("width_scale=0.1",), "large": ("width_scale=0.15",)},
        recipe=("optimizer.lr=1e-2",),
    ),
    "RKAN": Family(
        _models("rkan", "rkan_conv", "rkan"),
        ("stages=[1,2,3,4]",),
        sizes={"small": ("backbone=test_byobnet",), "large": ("backbone=test_resnet",)},
        own={"kan": ("kind=gram",), "svkan": ("kind=shared_spline",)},
    ),
}
ZOO = Study("zoo", __doc__ or "", DATA, KINDS, FAMILIES, RECIPE)

if __name__ == "__main__":
    raise SystemExit(run(ZOO))
