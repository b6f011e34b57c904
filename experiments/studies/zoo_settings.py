"""What the study `zoo` trains: every family of networks beside two twins of equal parameters.

The plain twin has convolutions in the places of KAN layers, the SV-KAN twin layers that share one
learned function. The plain twin of RKAN keeps its side branches, with a convolution in each.

One recipe for all: AdamW at 3e-3 with a one-cycle schedule, batches of 64, label smoothing 0.1, no
augmentation, one thread. Every run ends at an image budget of about 22,000, which takes a network
here 90 seconds of one thread or less.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from experiments.config.compose import load_config
from experiments.data import load_datasets
from experiments.errors import DataError
from experiments.studies.setting import Setting

SEEDS = (0, 1, 2)
KINDS = ("kan", "plain", "svkan")
RECIPE = (
    "augment=none",
    "optimizer=adamw",
    "optimizer.lr=3e-3",
    "optimizer.weight_decay=1e-2",
    "scheduler=onecycle",
    "loss.label_smoothing=0.1",
    "trainer.batch_size=64",
    "trainer.threads=1",
    "trainer.cpu=true",
)


@dataclass(frozen=True)
class Data:
    """A dataset, its image budget, and the sizes that networks have on it."""

    overrides: tuple[str, ...]
    sizes: tuple[str, ...] = ("small",)
    places: tuple[Path, ...] = ()  # folders beside the usual one that may hold it

    @property
    def place(self) -> tuple[str, ...]:
        """Where it lies on this machine."""
        return tuple(f"data.root={folder}" for folder in self.places if folder.is_dir())[:1]


DATA = {
    "digits": Data(("data=digits", "data.image_size=16", "trainer.epochs=17")),
    "mnist5k": Data(("data=mnist5k", "trainer.epochs=6"), ("small", "large")),
    "fashion_mnist": Data(
        ("data=fashion_mnist", "data.validation_fraction=0.02", "data.train_size=11000",
         "trainer.epochs=2"),
        places=(Path("/usr/share/datasets/fashion-mnist"),),  # of Debian's dataset-fashion-mnist
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Family:
    """Networks of a family: a model for every kind, and options that all of them share.

    `sizes` hold those of a size, `widths` those that the KAN alone has: its twins are as wide as
    its parameters demand; `own` those of one kind.
    """

    models: Mapping[str, str]
    shared: tuple[str, ...] = ()
    sizes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    widths: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    own: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def overrides(self, kind: str, size: str) -> tuple[str, ...]:
        """The overrides that name the network of a kind."""
        shared = (*self.shared, *self.sizes.get(size, ()))
        kan = (*shared, *self.own.get("kan", ()), *self.widths.get(size, ()))
        options = kan if kind == "kan" else (*shared, *self.own.get(kind, ()))
        named = (f"model={self.models[kind]}", *(f"model.{option}" for option in options))
        reference = " ".join((self.models["kan"], *kan))
        return named if kind == "kan" else (*named, f'model.match="{reference}"')


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
    ),
    "RKAN": Family(
        _models("rkan", "rkan_conv", "rkan"),
        ("stages=[1,2,3,4]",),
        sizes={"small": ("backbone=test_byobnet",), "large": ("backbone=test_resnet",)},
        own={"kan": ("kind=gram",), "svkan": ("kind=shared_spline",)},
    ),
}


def settings(data: Sequence[str] = tuple(DATA)) -> Iterator[Setting]:
    """All runs of the study: the first seed of every network, then the next one."""
    for seed in SEEDS:
        for name in data:
            for size in DATA[name].sizes:
                for family, row in FAMILIES.items():
                    for kind in KINDS:
                        labels = {"data": name, "size": size, "family": family, "kind": kind}
                        overrides = (*DATA[name].overrides, *row.overrides(kind, size), *RECIPE)
                        yield Setting(labels, seed, overrides, DATA[name].place)


def absent(name: str) -> str:
    """Why a dataset cannot be read on this machine, and what to install; "" if it can."""
    overrides = [*DATA[name].overrides, *DATA[name].place]
    try:
        load_datasets(load_config("cifar", overrides).data)
    except DataError as error:
        return str(error)
    return ""
