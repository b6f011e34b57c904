"""What a run is computed with and from, beside its config: compared when it is taken up again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from accelerate import Accelerator

from experiments.data import Datasets
from experiments.data.containers import TensorImages, part_of
from experiments.data.file_images import EncodedImages

SAMPLE = 16_384  # images of a split, evenly spaced, whose name, size or pixels are looked at
LISTED = 100  # classes up to which their names are told, and not a hash of them


def run_facts(accelerator: Accelerator, data: Datasets, versions: dict[str, Any]) -> dict[str, Any]:
    """The facts of experiments.config.resume.FACTS, as a nested dict.

    What a dataset does not tell without reading all of it is left out.
    """
    splits = [_described(split) for split in data]
    classes = [str(name) for name in getattr(data.train, "classes", [])]
    names = (
        classes
        if len(classes) <= LISTED
        else _hash(name.encode("utf-8", "surrogatepass") for name in classes)
    )
    return {
        "run": {
            "precision": accelerator.mixed_precision,
            "processes": accelerator.num_processes,
            "device": accelerator.device.type,
            "versions": versions,
        },
        "data": {
            "images": [len(split) for split in data],
            "classes": names,
            "fingerprint": _hash(part for what, _ in splits for part in what),
            "contents": _hash(part for _, content in splits for part in content),
        },
    }


def _described(dataset: Any) -> tuple[list[bytes], list[bytes]]:
    """(which images these are, what is in them), as bytes to hash."""
    base, indices = dataset, np.arange(len(dataset))
    while (share := part_of(base)) is not None:
        base, indices = share[0], share[1][indices]
    which, content = [type(base).__name__.encode()], []
    targets = getattr(base, "targets", None)
    if targets is not None:
        array = targets if isinstance(targets, np.ndarray) else _array(targets)
        array = array[indices]
        numbers = array.dtype.kind in "biuf"
        which.append(array.tobytes() if numbers else repr(array.tolist()).encode())
    at_most = min(len(indices), SAMPLE)
    sample = indices[np.linspace(0, len(indices) - 1, at_most).astype(int)] if at_most else []
    if isinstance(base, EncodedImages):
        for index in map(int, sample):
            known = base.identify(index)
            which.append(known.name)
            content.append(str(known.size).encode())
    elif isinstance(base, TensorImages) and len(sample):
        content.append(base.images[sample].cpu().numpy().tobytes())
    return which, content


def _array(targets: Any) -> np.ndarray:
    """One entry for each target, of whatever kind and length these are."""
    try:
        return np.asarray(targets)
    except ValueError:  # lists of several lengths
        made = np.empty(len(targets), dtype=object)
        made[:] = list(targets)
        return made


def _hash(parts: Iterable[bytes]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()
