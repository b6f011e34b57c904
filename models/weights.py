"""Weights that others have trained, into a transformer of this library: what fits, resized or not.

    print(take_weights(create_model("kat_tiny_patch16_224", ...), "timm:vit_tiny_patch16_224"))

Files of timm's CheckpointSaver and of published code are read without unpickling objects.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isqrt
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors.torch import load_file
from timm.layers import resample_abs_pos_embed, resample_patch_embed
from timm.models import adapt_input_conv, load_state_dict
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from conv_kan.interop import export_published, load_published

_TIMM = "timm:"
_PATCHES, _POSITIONS, _CLASS, _DISTILLED = (
    "patch_embed.proj.weight", "pos_embed", "cls_token", "dist_token",
)  # fmt: skip


@dataclass(frozen=True)
class Taken:
    """What became of every tensor, by its published name, or by ours if the source has those.

    `taken` as they were, `resized` {name: (shape there, shape here)}; `left` {name here: why} keep
    their initial values, `unused` {name there: why} are nowhere here.
    """

    taken: tuple[str, ...]
    resized: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]
    left: Mapping[str, str]
    unused: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"{len(self.taken)} tensors taken"]
        lines += [f"resized {k}: {_times(a)} -> {_times(b)}" for k, (a, b) in self.resized.items()]
        lines += [f"left at its initial value {key}: {why}" for key, why in self.left.items()]
        lines += [f"not used {key}: {why}" for key, why in self.unused.items()]
        return "\n".join(lines)


def take_weights(
    model: VisionTransformer, source: str | Path | Mapping[str, Tensor], *, ema: bool = True
) -> Taken:
    """Copy into `model` what it shares with trained weights; return what became of every tensor.

    source: a state dict; a file (.safetensors; .pth of timm's CheckpointSaver or of published code,
    whose averaged weights are taken if it has any and `ema`; .npz of Google's ViT); "timm:NAME",
    which timm fetches. Positions are resampled to another number of patches, the embedding to
    patches of another size or to other channels, as timm does it; a head of another number of
    classes is left out. Where the class token has no position here, that of the source is added to
    the token, which is the same.

    Raises: ValueError for a source that cannot be read, naming it, for one that shares nothing but
        shapes with the model, and for one whose tokens have another width.
    """
    found = dict(source) if isinstance(source, Mapping) else _read(str(source), ema)
    width = len(found[_PATCHES]) if _PATCHES in found else model.embed_dim
    if width != model.embed_dim:
        raise ValueError(
            f"these weights are of a transformer of width {width}, and this one has "
            f"{model.embed_dim}; make it with width={width}, or take weights of its size"
        )
    own, published = model.state_dict(), export_published(model)
    as_here = any(key in own and key not in published for key in found)  # saved by this library
    wanted = {key: value.shape for key, value in (own if as_here else published).items()}
    usable, resized, unused = _fitted(model, found, wanted)
    if not any(key.startswith("blocks.") for key in usable):
        shown = ", ".join(list(found)[:3]) or "nothing"
        raise ValueError(f"these are no weights of such a transformer: they hold {shown}, ...")
    if as_here:
        model.load_state_dict({**own, **usable})
    else:
        load_published(model, usable, strict=False)
    left = {
        key: f"{_times(found[key].shape)} there, {_times(shape)} here" if key in found else "absent"
        for key, shape in wanted.items()
        if key not in usable
    }
    kept = tuple(key for key in usable if key not in resized)
    return Taken(kept, resized, left, unused)


# ----------------------------------------------------------------------------------------- reading
def _read(source: str, ema: bool) -> dict[str, Tensor]:
    if source.startswith(_TIMM):
        return dict(timm.create_model(source.removeprefix(_TIMM), pretrained=True).state_dict())
    path = Path(source)
    if not path.is_file():
        raise ValueError(f"{source} is no file; give one, or {_TIMM}NAME for weights of timm")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if path.suffix == ".npz":
            return _read_numpy(path)
        with torch.serialization.safe_globals([argparse.Namespace]):
            return load_state_dict(str(path), use_ema=ema)
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


# ----------------------------------------------------------------------------------------- fitting
_Shapes = dict[str, tuple[tuple[int, ...], tuple[int, ...]]]


def _fitted(
    model: VisionTransformer, found: Mapping[str, Tensor], wanted: Mapping[str, torch.Size]
) -> tuple[dict[str, Tensor], _Shapes, dict[str, str]]:
    """(tensors of the shapes that the model has, those that were resized, those of no use)."""
    usable: dict[str, Tensor] = {}
    resized: _Shapes = {}
    unused = {key: "the model has no such tensor" for key in found if key not in wanted}
    values = {**found, **_positions(model, found)}
    for key in wanted.keys() & found.keys():
        value = values[key]
        if key == _PATCHES:
            value = _patches(value, wanted[key])
        if value.shape != wanted[key]:
            unused[key] = f"{_times(value.shape)}, here {_times(wanted[key])}"
            continue
        usable[key] = value
        if value.shape != found[key].shape:
            resized[key] = (tuple(found[key].shape), tuple(value.shape))
    ordered = {key: usable[key] for key in wanted if key in usable}
    return ordered, resized, unused


def _patches(weight: Tensor, wanted: torch.Size) -> Tensor:
    """The embedding of patches for other channels and patches of another size."""
    if weight.ndim != 4 or len(weight) != wanted[0]:
        return weight
    if weight.shape[1] != wanted[1]:
        weight = adapt_input_conv(wanted[1], weight)
    if weight.shape[2:] != wanted[2:]:
        weight = resample_patch_embed(weight, list(wanted[2:]))
    return weight


def _positions(model: VisionTransformer, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Positions of the tokens that the model has, in its grid; and the class token, see above."""
    if _POSITIONS not in found or model.pos_embed is None:
        return {}
    positions = found[_POSITIONS]
    held = next((n for n in (0, 1, 2) if isqrt(positions.shape[1] - n) ** 2 ==
                 positions.shape[1] - n), 0)  # fmt: skip
    first, grid = positions[:, :held], positions[:, held:]
    side = isqrt(grid.shape[1])
    if (side, side) != tuple(model.patch_embed.grid_size):
        new, old = list(model.patch_embed.grid_size), [side, side]
        grid = resample_abs_pos_embed(grid, new, old, num_prefix_tokens=0)
    needed = 0 if model.no_embed_class else model.num_prefix_tokens
    if needed > held:
        absent = first.new_zeros(len(first), needed - held, first.shape[2])
        first = torch.cat([first, absent], dim=1)
    made = {_POSITIONS: torch.cat([first[:, :needed], grid], dim=1)}
    if not needed and held and _CLASS in found:
        made[_CLASS] = found[_CLASS] + first[:, :1]
    return made


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "1"
