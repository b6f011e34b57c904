"""Train an image classifier on ImageNet (1,000 classes, 224x224).

accelerate launch imagenet.py data.root=PATH model=vggkagn model.width_scale=2
accelerate launch imagenet.py data=imagenet_hub experiment=vgg_kagn_bn11_v4
"""

from typing import Any

from experiments.app import launch
from experiments.config.schema import Config


def get_data(cfg: Config) -> tuple[Any, Any, Any]:
    """Return (train, validation, test): edit this one function to bring your own images.

    data.root has train/<class>/ and val/<class>/, or tar shards of both, or names shards by URL;
    data=imagenet_hub asks the Hugging Face hub. Each split is a map-style dataset of (image, class
    index). read_shards(cfg.data) of experiments.data gives the splits of any shards, and
    complete_splits(cfg.data, train, test) makes three splits of two. Test is read once, after
    training.
    """
    from experiments.data import load_datasets  # here: a misspelt command is told at once

    return load_datasets(cfg.data)


if __name__ == "__main__":
    launch("imagenet", get_data)
