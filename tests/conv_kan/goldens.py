"""Files of golden tensors."""

import json
from pathlib import Path

from safetensors import safe_open

GOLDEN = Path(__file__).parent.parent / "golden"


def read(path):
    """The tensors of a file and what it says about them."""
    with safe_open(path, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return tensors, json.loads(file.metadata()["meta"])
