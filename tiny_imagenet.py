"""Train an image classifier on Tiny ImageNet (200 classes, 64x64).

accelerate launch tiny_imagenet.py data.root=PATH model=vggkagn model.width_scale=2
accelerate launch tiny_imagenet.py data=tiny_imagenet_hub data.cache=memory
"""

from typing import Any

from experiments.app import launch
from experiments.config.schema import Config


def get_data(cfg: Config) -> tuple[Any, Any, Any]:
    """Return (train, validation, test): edit this one function to bring your own images.

    data.root is the unpacked archive, with train/<wnid>/images/ and val/val_annotations.txt, or has
    tar shards; data=tiny_imagenet_hub asks the Hugging Face hub. Each split is a map-style dataset
    of (image, class index); the published val, which has labels, is the test split and is read
    once, after training.
    """
    from experiments.data import load_datasets  # here: a misspelt command is told at once

    return load_datasets(cfg.data)


if __name__ == "__main__":
    launch("tiny_imagenet", get_data)
