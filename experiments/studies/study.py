"""What a study is: networks in families, each of several kinds, on datasets, by one recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from experiments.config.compose import load_config
from experiments.data import load_datasets
from experiments.errors import DataError
from experiments.studies.setting import Setting
from experiments.tasks.rows import Figure, task_row


@dataclass(frozen=True)
class Data:
    """A dataset with its title, its image budget, and the sizes that networks have on it."""

    title: str
    overrides: tuple[str, ...]
    sizes: tuple[str, ...] = ("small",)
    places: tuple[Path, ...] = ()  # folders beside the usual one that may hold it

    @property
    def place(self) -> tuple[str, ...]:
        """Where it lies on this machine."""
        return tuple(f"data.root={folder}" for folder in self.places if folder.is_dir())[:1]


@dataclass(frozen=True)
class Family:
    """Networks of a family: a model for every kind, and options that all of them share.

    The first kind is the one whose parameters the others are given. `sizes` hold the options of a
    size, `widths` those that the first kind alone has: its twins are as wide as its parameters
    demand; `own` those of one kind. `recipe` is added to that of the study.
    """

    models: Mapping[str, str]
    shared: tuple[str, ...] = ()
    sizes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    widths: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    own: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    recipe: tuple[str, ...] = ()

    def overrides(self, kind: str, size: str) -> tuple[str, ...]:
        """The overrides that name the network of a kind."""
        first = next(iter(self.models))
        shared = (*self.shared, *self.sizes.get(size, ()))
        reference = (*shared, *self.own.get(first, ()), *self.widths.get(size, ()))
        options = reference if kind == first else (*shared, *self.own.get(kind, ()))
        named = (f"model={self.models[kind]}", *(f"model.{option}" for option in options))
        if kind == first:
            return named
        return (*named, f'model.match="{" ".join((self.models[first], *reference))}"')


@dataclass(frozen=True)
class Study:
    """Everything that is trained, and the words for it."""

    name: str
    about: str
    data: Mapping[str, Data]
    kinds: Mapping[str, str]  # kind -> the words of its column
    families: Mapping[str, Family]
    recipe: tuple[str, ...]
    seeds: tuple[int, ...] = (0, 1, 2)
    script: str = "cifar"

    @property
    def figure(self) -> Figure:
        """What its networks are compared by: the first figure of the script's task."""
        return task_row(load_config(self.script).task.name).figures[0]

    def settings(self, data: Sequence[str] = ()) -> Iterator[Setting]:
        """All runs on these data, or on all: the first seed of every network, then the next."""
        for seed in self.seeds:
            for name in data or self.data:
                for size in self.data[name].sizes:
                    for family, row in self.families.items():
                        for kind in self.kinds:
                            labels = {"data": name, "size": size, "family": family, "kind": kind}
                            network = row.overrides(kind, size)
                            overrides = (
                                *self.data[name].overrides, *network, *self.recipe, *row.recipe
                            )  # fmt: skip
                            place = self.data[name].place
                            yield Setting(labels, seed, overrides, place, self.script)

    def absent(self, name: str) -> str:
        """Why a dataset cannot be read on this machine, and what to install; "" if it can."""
        overrides = [*self.data[name].overrides, *self.data[name].place]
        try:
            load_datasets(load_config(self.script, overrides).data)
        except DataError as error:
            return str(error)
        return ""


def one_cycle(lr: str, weight_decay: str) -> tuple[str, ...]:
    """AdamW with a one-cycle schedule, batches of 64, no augmentation, one thread of a CPU."""
    return (
        "augment=none",
        "optimizer=adamw",
        f"optimizer.lr={lr}",
        f"optimizer.weight_decay={weight_decay}",
        "scheduler=onecycle",
        "loss.label_smoothing=0.1",
        "trainer.batch_size=64",
        "trainer.threads=1",
        "trainer.cpu=true",
    )
