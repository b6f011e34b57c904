"""Files of golden tensors."""

import json
from pathlib import Path

import torch
from safetensors import safe_open

GOLDEN = Path(__file__).parent.parent / "golden"


def read(path):
    """The tensors of a file and what it says about them."""
    with safe_open(path, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return tensors, json.loads(file.metadata()["meta"])


def part(tensors, prefix):
    """The tensors whose key begins so, by the rest of their keys."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def assert_same(found, wanted):
    """Two state dicts agree bit for bit."""
    assert set(found) == set(wanted)
    for key, value in wanted.items():
        assert found[key].dtype == value.dtype and torch.equal(found[key], value), key
