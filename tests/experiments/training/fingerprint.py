"""Everything that a computation determines of a finished run, as hashes to compare."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

FILES = ("best.safetensors", "metrics.jsonl", "test.json")


def fingerprint(run: Path) -> dict[str, str]:
    """{name: SHA-256} of weights, moving average, state, rows and test of a run directory."""
    last = max((run / "checkpoints").glob("step-*"))
    files = [*sorted(last.glob("*.safetensors")), *(run / name for name in FILES)]
    hashes = {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files}
    state = torch.load(last / "state.pt", weights_only=True)
    hashes["state"] = hashlib.sha256(repr(_plain(state)).encode()).hexdigest()
    return hashes | {"last": last.name}


def _plain(value: object) -> object:
    """Tensors as bytes inside the same nesting, so that hashes see every bit."""
    if isinstance(value, torch.Tensor):
        return (str(value.dtype), tuple(value.shape), value.contiguous().numpy().tobytes())
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value
