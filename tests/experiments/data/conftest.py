"""Small real and generated datasets, and a wall against the network."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest

from experiments.config.data import DataConfig
from experiments.data import Datasets, ImageInfo, describe_images, load_datasets


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Fail as a machine without a network does; counts the attempts."""
    attempts = []

    def refuse(*args, **kwargs):
        attempts.append(args)
        raise urllib.error.URLError("Temporary failure in name resolution")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    return attempts


@pytest.fixture(scope="session")
def digits() -> Datasets:
    return load_datasets(DataConfig())


@pytest.fixture(scope="session")
def digits_info(digits) -> ImageInfo:
    return describe_images(digits.train, DataConfig())
