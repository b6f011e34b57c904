"""Train a network that gives every pixel a class; digits on a canvas unless `data=` says otherwise.

accelerate launch segmentation.py model=u2kagnet_small loss=dice_ce trainer.epochs=5
"""

from typing import Any

from experiments.app import launch
from experiments.config.schema import Config


def get_data(cfg: Config) -> tuple[Any, Any, Any]:
    """Return (train, validation, test): edit this one function to bring your own images and masks.

    Each is a map-style dataset of (image, mask), with an attribute `classes`, the names of the
    classes in the order of their values in the masks; `ignore_index`, where it has one, is the
    value of pixels that do not count. Cropping, augmentation and normalisation come from the config
    groups `data` and `augment`. Test is read once, after training.
    """
    from experiments.data import load_datasets  # here: a misspelt command is told at once

    return load_datasets(cfg.data)


if __name__ == "__main__":
    launch("segmentation", get_data)
