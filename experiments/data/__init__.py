"""Datasets by name, and loaders whose batches are the same on every machine and after any restart.

datasets = load_datasets(cfg.data)
train = TrainLoader(datasets.train, task.recipe(training=True), batch_size=128, ...)
"""

from experiments.data.containers import Datasets, ImageDataset
from experiments.data.info import ImageInfo, describe_images
from experiments.data.loader import EvaluationLoader, TrainLoader
from experiments.data.mask_transforms import mask_recipe
from experiments.data.recipe import Recipe
from experiments.data.seeding import Sampling
from experiments.data.shards import read_shards
from experiments.data.sources import DATASETS, load_datasets
from experiments.data.splits import complete_splits

__all__ = [
    "DATASETS",
    "Datasets",
    "EvaluationLoader",
    "ImageDataset",
    "ImageInfo",
    "Recipe",
    "Sampling",
    "TrainLoader",
    "complete_splits",
    "describe_images",
    "load_datasets",
    "mask_recipe",
    "read_shards",
]
