"""Datasets by name, and loaders whose batches are the same on every machine and after any restart.

datasets = load_datasets(cfg.data)
info = describe(datasets, cfg.data)
train = TrainLoader(datasets.train, cfg.data, cfg.augment, info, batch_size=128, ...)
"""

from experiments.data.containers import Datasets, ImageDataset
from experiments.data.info import DataInfo, describe
from experiments.data.loader import EvaluationLoader, TrainLoader
from experiments.data.sources import DATASETS, load_datasets
from experiments.data.splits import complete_splits

__all__ = [
    "DATASETS",
    "DataInfo",
    "Datasets",
    "EvaluationLoader",
    "ImageDataset",
    "TrainLoader",
    "complete_splits",
    "describe",
    "load_datasets",
]
