"""Train an image classifier; CIFAR-10 unless `data=` names another dataset.

accelerate launch cifar.py model=vggkagn model.degree=4 optimizer.lr=1e-3 trainer.epochs=5
"""

from typing import Any

from experiments.app import launch
from experiments.config.schema import Config


def get_data(cfg: Config) -> tuple[Any, Any, Any]:
    """Return (train, validation, test): edit this one function to bring your own images.

    Each is a dataset of (image, class index or name), rows as Hugging Face has them, or a pair
    (images, labels); an image is a PIL image, an array (H, W, C) or a tensor (C, H, W), uint8,
    uint16 or float in [0, 1]. Resizing, augmentation and normalisation come from
    the config groups `data` and `augment`. Test is read once, after training.
    """
    from experiments.data import load_datasets  # here: a misspelt command is told at once

    return load_datasets(cfg.data)


if __name__ == "__main__":
    launch("cifar", get_data)
