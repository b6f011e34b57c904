"""Images per second of the loaders, and whether training waits for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image

from experiments.benchmarks.harness import Effort, interleave
from experiments.benchmarks.models import build, model_step
from experiments.benchmarks.record import Row, timed_rows
from experiments.benchmarks.worker import run_isolated
from experiments.config.compose import CONFIG_DIR, load_config
from experiments.config.schema import Config
from experiments.data import Datasets, Sampling, TrainLoader, complete_splits, load_datasets
from experiments.data.admit import admit
from experiments.data.containers import TensorImages
from experiments.data.folders import load_folder
from experiments.data.known import Published
from experiments.tasks.base import create_task

BENCH = "bench_data"
BATCH = 128
IMAGES = 2560  # of a dataset, so that an epoch has twenty batches
FILES = 320  # of the folder of images
SIDE = 64  # of the files' images, read at 32
LARGE = ["data.image_size=224", "augment.random_resized_crop=0.08", "augment.horizontal_flip=true"]
WAIT_TARGET = 0.05  # of a training step may be spent on its images


def run(short: bool) -> Iterator[Row]:
    """Every dataset that needs no download, with every augmentation; then loading and training."""
    names = ["none", "basic"] if short else sorted(p.stem for p in CONFIG_DIR.glob("augment/*"))
    effort = {"seconds": 0.5 if short else 2.0, "min_rounds": 3}
    for dataset in ("cifar-like",) if short else tuple(SOURCES):
        yield from run_isolated(BENCH, "loaders", dataset=dataset, augments=names, effort=effort)
    for side in (64,) if short else (64, 375):
        yield from run_isolated(BENCH, "kept", side=side, effort=effort)
    names = ["basic"] if short else names
    effort["seconds"] *= 4
    yield from run_isolated(BENCH, "share_of_a_step", augments=names, effort=effort)


def loaders(
    dataset: str, augments: list[str], effort: dict[str, Any], batch: int = BATCH
) -> Iterator[Row]:
    """Seconds of one batch in this process; the augmentations take turns, batch by batch."""
    with TemporaryDirectory() as directory:
        datasets = SOURCES[dataset](Path(directory))
        batches = {a: _endless(_loader(datasets, _config(a), batch)) for a in augments}
        steps = {augment: partial(next, b) for augment, b in batches.items()}
        samples = interleave(steps, Effort(**effort))
    yield from timed_rows(
        samples, baseline=augments[0], images=batch,
        bench=BENCH, case=dataset, metric="batch of images [s]",
    )  # fmt: skip


def kept(side: int, effort: dict[str, Any], files: int = FILES, batch: int = 32) -> Iterator[Row]:
    """Seconds of one batch of JPEG files that are decoded each time, or kept by data.cache.

    64 x 64 as in Tiny ImageNet, read whole; 500 x 375 as in ImageNet, a random part of each at 224.
    """
    with TemporaryDirectory() as directory:
        root = Path(directory)
        width = side if side == SIDE else 4 * side // 3
        _write_images(root / "images", (width, side), files, "jpg")
        steps = {}
        for name in ("null", "memory", str(root / "kept")):
            config = _config("basic" if side == SIDE else "none", "folder", f"data.cache={name}",
                             f"data.root={root}/images", f"trainer.batch_size={batch}",
                             *([f"data.image_size={side}"] if side == SIDE else LARGE))  # fmt: skip
            admitted = admit(load_folder(config.data), config)
            provider = "folder" if "/" in name else name
            steps[f"data.cache={provider}"] = partial(
                next, _endless(_loader(admitted, config, batch))
            )
        samples = interleave(steps, Effort(**effort))
    yield from timed_rows(
        samples, baseline="data.cache=null", images=batch,
        bench=BENCH, case=f"jpeg {width}x{side}", metric="batch of images [s]",
    )  # fmt: skip


def share_of_a_step(
    augments: list[str], effort: dict[str, Any], batch: int = BATCH, model: str = "simple_conv_kagn"
) -> Iterator[Row]:
    """Seconds of one batch of CIFAR-sized images against the training step that uses it.

    The model is the default one at its default widths. The loader reads in the same process, the
    worst case: with data.workers it reads while the model trains.
    """
    datasets = _cifar_like()
    images = next(_endless(_loader(datasets, _config("none"), batch)))[0][0]
    for augment in augments:
        batches = _endless(_loader(datasets, _config(augment), batch))
        steps: dict[str, Callable[[], Any]] = {
            "training step": model_step(build(model), images),
            f"images, augment={augment}": partial(next, batches),
        }
        yield from timed_rows(
            interleave(steps, Effort(**effort)), baseline="training step", images=batch,
            targets={f"images, augment={augment}": WAIT_TARGET} if augment == "basic" else None,
            bench=BENCH, case=f"cifar-like for {model}", metric="batch of images [s]",
        )  # fmt: skip


# ------------------------------------------------------------------------------------------- data
def _config(augment: str, data: str = "digits", *overrides: str) -> Config:
    groups = [f"augment={augment}", f"data={data}", "data.image_size=32"]
    return load_config("cifar", [*groups, *overrides])


def _loader(datasets: Datasets, config: Config, batch: int) -> TrainLoader:
    recipe = create_task(config, datasets).recipe(training=True)
    return TrainLoader(
        datasets.train,
        recipe,
        batch_size=batch,
        accumulation=1,
        sampling=Sampling.of(0),
        rank=0,
        world_size=1,
    )


def _endless(loader: TrainLoader) -> Iterator[Any]:
    epoch = 0
    while True:
        yield from loader.epoch(epoch)
        epoch += 1


def _cifar_like(_: Path | None = None) -> Datasets:
    """Random images of CIFAR's size, in memory."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (IMAGES, 3, 32, 32), dtype=torch.uint8, generator=generator)
    targets = torch.arange(IMAGES) % 10
    known = Published((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), 32)
    data = TensorImages(images, targets, [str(i) for i in range(10)], known)
    return complete_splits(_config("none").data, data, data)


def _digits(_: Path) -> Datasets:
    return load_datasets(_config("none").data)


def _folder(root: Path) -> Datasets:
    """PNG files of random smooth images, in folders of ten classes."""
    _write_images(root, (SIDE, SIDE), FILES, "png")
    return load_folder(_config("none", "folder", f"data.root={root}").data)


def _write_images(root: Path, size: tuple[int, int], count: int, kind: str) -> None:
    random = np.random.default_rng(0)
    for i in range(count):
        coarse = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        folder = root / str(i % 10)
        folder.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(coarse).resize(size)
        if kind == "jpg":  # as much to decode as in a photograph, about 2 bits a pixel
            noise = random.integers(-16, 17, (size[1], size[0], 1))
            image = Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))
        image.save(folder / f"{i}.{kind}", quality=75)


SOURCES: dict[str, Callable[[Path], Datasets]] = {
    "cifar-like": _cifar_like,
    "digits": _digits,
    "folder": _folder,
}
