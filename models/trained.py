"""Trained weights from wherever they lie: a run, a file, a folder or repository of the hub, timm.

Nothing is unpickled: files of timm's CheckpointSaver and of published code are read as tensors.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from safetensors.torch import load_file
from timm.models import load_state_dict
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from models.description import Description
from models.hub import CONFIG, WEIGHTS, description_of, file_of, read_pretrained

TIMM = "timm:"
_CONFIG, _BEST = "config.yaml", "best.safetensors"  # of the directory of a run


@dataclass(frozen=True)
class Trained:
    """Tensors by name, what they say of their network, and how many channels its images had.

    What the source does not tell is None; file is where the tensors lie, if that is one.
    """

    tensors: Mapping[str, Tensor]
    description: Description | None = None
    input_channels: int | None = None
    file: Path | None = None


def read_trained(source: str, *, ema: bool = True) -> Trained:
    """Trained weights by what names them.

    source: the directory of a run (its best weights); a file (.safetensors; .pth of timm's
    CheckpointSaver or of published code, whose averaged weights are taken if it has any and `ema`;
    .npz of Google's ViT); a folder that save_pretrained wrote, or a repository of the hub,
    "owner/name"; "timm:NAME", which timm fetches.

    Raises: ValueError for a source that cannot be read, naming it.
    """
    if source.startswith(TIMM):
        return _of_timm(source.removeprefix(TIMM))
    path = Path(source).expanduser()
    if path.is_dir():
        if (path / _CONFIG).is_file():
            if not (path / _BEST).is_file():
                raise ValueError(f"{source} is a run without {_BEST}: it has done no epoch yet")
            return _read_file(path / _BEST, ema)
        if not (path / CONFIG).is_file():
            raise ValueError(
                f"{source} is neither a run (with {_CONFIG}) nor a published network (with "
                f"{CONFIG}); give one, or a file of weights"
            )
        return _of_hub(source)
    if path.is_file():
        return _read_file(path, ema)
    is_path = path.suffix in (".safetensors", ".pth", ".pt", ".npz") or source.count("/") != 1
    if is_path or path.parent.is_dir():
        raise ValueError(
            f"{source} is no file and no folder; give a run, a file of weights, a repository of "
            f"the hub (owner/name), or {TIMM}NAME for weights of timm"
        )
    return _of_hub(source)


def _of_hub(source: str) -> Trained:
    tensors, description = read_pretrained(source)
    return Trained(tensors, description, description.input_channels, file_of(source, WEIGHTS))


def _of_timm(name: str) -> Trained:
    try:
        net: Any = timm.create_model(name, pretrained=True)
    except (RuntimeError, OSError, ValueError) as error:
        raise ValueError(f"{TIMM}{name}: {str(error).splitlines()[0]}") from error
    return Trained(dict(net.state_dict()), input_channels=net.pretrained_cfg["input_size"][0])


def _read_file(path: Path, ema: bool) -> Trained:
    try:
        if path.suffix == ".safetensors":
            description = description_of(path)
            channels = None if description is None else description.input_channels
            return Trained(load_file(path), description, channels, path)
        if path.suffix == ".npz":
            return Trained(_read_numpy(path), file=path)
        with torch.serialization.safe_globals([argparse.Namespace]):
            return Trained(load_state_dict(str(path), use_ema=ema), file=path)
    except Exception as error:  # each format has errors of its own
        raise ValueError(f"{path} holds no weights that can be read: {error}") from error


def _read_numpy(path: Path) -> dict[str, Tensor]:
    """A file of Google's, by timm's loader, through a network of the size that the file has."""
    with np.load(path) as arrays:
        patch, _, channels, width = arrays["embedding/kernel"].shape
        tokens = arrays["Transformer/posembed_input/pos_embedding"].shape[1]
        depth = len({k.split("/")[1] for k in arrays if k.startswith("Transformer/encoderblock_")})
        head = arrays["head/bias"].shape[0] if "head/bias" in arrays else 0
    with torch.device("meta"):
        network = VisionTransformer(
            img_size=isqrt(tokens - 1) * patch,
            patch_size=patch,
            in_chans=channels,
            num_classes=head,
            embed_dim=width,
            depth=depth,
            num_heads=1,
        )
    network.to_empty(device="cpu").load_pretrained(str(path))
    return dict(network.state_dict())


def differing(there: Description, here: Description) -> list[str]:
    """What two descriptions of networks say otherwise: 'degree=3 (here 2)'."""
    told = [] if there.model == here.model else [f"model={there.model} (here {here.model})"]
    own, others = (json.loads(json.dumps(dict(d.options))) for d in (here, there))
    for key in sorted(others):
        if key in own and own[key] != others[key]:
            told.append(f"{key}={others[key]} (here {own[key]})")
    return told
