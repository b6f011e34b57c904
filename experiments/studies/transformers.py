"""Transformers: the feed-forwards of KAT, KAN-DeiT and efficient-KAN ViT beside a plain ViT's.

All have six blocks of width 96 with three heads on patches of 4x4 of images of 32x32, and the
parameters of KAT: the hidden channels of the others' feed-forwards are chosen for it. Chebyshev
polynomials have degree 3, splines order 3 on a grid of 5; both stand beside a SiLU branch.

One recipe for all: AdamW at 1e-3 with a one-cycle schedule, batches of 64, label smoothing 0.1, no
augmentation, one thread. Digits are seen 17 times, MNIST-5k 6 times, 20,000 images of Fashion-MNIST
twice.
"""

from __future__ import annotations

from experiments.studies.command import run
from experiments.studies.study import Data, Family, Study, one_cycle
from experiments.studies.zoo import FASHION_MNIST

RECIPE = one_cycle(lr="1e-3", weight_decay="5e-2")
KINDS = {
    "kat": "KAT",
    "chebyshev": "Chebyshev",
    "efficient": "efficient-KAN",
    "plain": "plain ViT",
}
SIZE = ("image_size=32", "patch_size=4", "width=96", "depth=6", "heads=3")
DATA = {
    "digits": Data("digits", ("data=digits", "data.image_size=32", "trainer.epochs=17")),
    "mnist5k": Data("MNIST-5k", ("data=mnist5k", "data.image_size=32", "trainer.epochs=6")),
    "fashion_mnist": Data(
        "Fashion-MNIST",
        ("data=fashion_mnist", "data.image_size=32", "data.validation_fraction=0.02",
         "data.train_size=20000", "trainer.epochs=2"),
        places=FASHION_MNIST,
    ),
}  # fmt: skip
FAMILIES = {
    "ViT": Family(
        dict(zip(KINDS, ("kat", "vit", "vit", "vit"), strict=True)),
        SIZE,
        own={
            "chebyshev": ("feed_forward=chebyshev", "degree=3", "base=silu"),
            "efficient": ("feed_forward=efficient",),
        },
    ),
}
TRANSFORMERS = Study("transformers", __doc__ or "", DATA, KINDS, FAMILIES, RECIPE)

if __name__ == "__main__":
    raise SystemExit(run(TRANSFORMERS))
