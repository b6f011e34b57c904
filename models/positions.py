"""Weights of vision transformers brought to another grid of patches, other patches and channels."""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt

import torch
from timm.layers import resample_abs_pos_embed, resample_patch_embed
from timm.models import adapt_input_conv
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

_PATCHES, _POSITIONS, _CLASS = "patch_embed.proj.weight", "pos_embed", "cls_token"


def check_width(model: VisionTransformer, found: Mapping[str, Tensor]) -> None:
    """Refuse tokens of another width. Raises: ValueError."""
    width = len(found[_PATCHES]) if _PATCHES in found else model.embed_dim
    if width != model.embed_dim:
        raise ValueError(
            f"these weights are of a transformer of width {width}, and this one has "
            f"{model.embed_dim}; make it with width={width}, or take weights of its size"
        )


def transformed(
    model: VisionTransformer,
    found: Mapping[str, Tensor],
    wanted: Mapping[str, tuple[int, ...]],
) -> dict[str, Tensor]:
    """Positions, class token and embedding in the sizes of the model."""
    made = _positions(model, found)
    if _PATCHES in found and _PATCHES in wanted:
        made[_PATCHES] = _patches(found[_PATCHES], wanted[_PATCHES])
    return made


def _patches(weight: Tensor, wanted: tuple[int, ...]) -> Tensor:
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
