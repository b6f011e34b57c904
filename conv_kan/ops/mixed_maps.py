"""y = M prelu(norm(W * e(x) + b)): many maps of every channel, none of which is kept.

    e(x_c) = (silu(x_c), max(x_c, 0), min(x_c, 0))

W is a convolution of each channel alone, and what follows acts on each map alone, up to the matrix
M: channels are taken in tiles, whose maps live only until M has mixed them. Backward computes them
again from x. A tile is about as large as the cache of a CPU's core, which is faster than all maps
at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from conv_kan.ops.maths.dtypes import promote
from conv_kan.ops.maths.geometry import Geometry, convolution_arguments
from conv_kan.ops.maths.memory import CHANNELS_LAST, memory_format
from conv_kan.ops.maths.modes import needs_composition
from conv_kan.ops.maths.norms import BATCH_NORMS, has_hooks, step_momentum
from conv_kan.ops.maths.tiling import channel_tiles
from conv_kan.ops.maths.twice import differentiable_grads, graph_is_wanted

Running = tuple[Tensor | None, Tensor | None]  # mean and variance, (C m,)


class MapWeights(NamedTuple):
    """Of C channels with m maps each, mixed to O channels; no norm weights where it has none.

    Shapes: kernel (C m, 3, *kernel), bias, slope, norm_weight, norm_bias (C m,), mix (O, C m).
    """

    kernel: Tensor
    bias: Tensor
    slope: Tensor
    mix: Tensor
    norm_weight: Tensor | None = None
    norm_bias: Tensor | None = None

    def of_channels(self, tile: slice, channels: int) -> MapWeights:
        """Those of the maps of some of the channels."""
        m = len(self.kernel) // channels
        maps = slice(tile.start * m, tile.stop * m)
        return MapWeights(
            self.kernel[maps],
            self.bias[maps],
            self.slope[maps],
            self.mix[:, maps],
            *(None if t is None else t[maps] for t in self[4:]),
        )


@dataclass(frozen=True)
class MapPlan:
    """All that is fixed for a call, but the tensors.

    The norm: `eps`; `uses_batch`, or running statistics; `momentum` of these, None where they stay.
    """

    geometry: Geometry
    dtype: torch.dtype
    has_norm: bool = False
    eps: float = 0.0
    uses_batch: bool = False
    momentum: float | None = None


def mixed_maps(
    x: Tensor,
    weights: MapWeights,
    norm: nn.Module | None,
    *,
    geometry: Geometry,
    dtype: torch.dtype,
) -> Tensor:
    """y of x; norm acts on the maps.

    The training step keeps x and the weights where norm is a batch norm of torch without hooks, or
    None; any other norm is called, and keeps its maps. Gradients at x = 0 are those from the right.
    Shapes: x (B, C, *S), y (B, O, *S_out).
    Numerics: e is computed at least in float32, the convolutions in `dtype`; y is summed over tiles
    at least in float32 and returned in `dtype`.
    """
    with torch.autocast(device_type=x.device.type, enabled=False):
        if needs_composition() or not _is_plain(norm, x, weights):
            maps = _convolve(x, weights, geometry, dtype)
            return _mix(_bend(maps if norm is None else norm(maps), weights, dtype), weights)
        if norm is None:
            return _MixedMaps.apply(MapPlan(geometry, dtype), x, None, None, *weights)
        assert isinstance(norm, BATCH_NORMS)
        momentum, tracks = step_momentum(norm)
        uses_batch = norm.training or norm.running_mean is None
        plan = MapPlan(geometry, dtype, True, norm.eps, uses_batch, momentum if tracks else None)
        return _MixedMaps.apply(plan, x, norm.running_mean, norm.running_var, *weights)


def _is_plain(norm: nn.Module | None, x: Tensor, weights: MapWeights) -> bool:
    """Whether the norm can be computed tile by tile; torch itself tells of channels it has not."""
    if norm is None:
        return x.numel() > 0
    if type(norm) not in BATCH_NORMS or has_hooks(norm) or x.numel() == 0:
        return False
    return bool(norm.num_features == len(weights.kernel))


# ---------------------------------------------------------------------------------- maps of a tile
def _maps(x: Tensor, weights: MapWeights, running: Running, plan: MapPlan) -> Tensor:
    """prelu(norm(W * e(x) + b)), (B, C m, *S_out); moves the running statistics if it is told."""
    maps = _convolve(x, weights, plan.geometry, plan.dtype)
    if plan.has_norm:
        affine, momentum = weights[4:], plan.momentum or 0.0
        maps = F.batch_norm(maps, *running, *affine, plan.uses_batch, momentum, plan.eps)
    return _bend(maps, weights, plan.dtype)


def _convolve(x: Tensor, weights: MapWeights, geometry: Geometry, dtype: torch.dtype) -> Tensor:
    """W * e(x) + b, in the memory format of x."""
    wide = promote(x)
    negative = wide < 0
    functions = [F.silu(wide), wide.masked_fill(negative, 0.0), wide.masked_fill(~negative, 0.0)]
    if memory_format(x) == torch.contiguous_format:
        e = torch.stack(functions, dim=2).flatten(1, 2)
    else:
        e = torch.stack([f.movedim(1, -1) for f in functions], dim=-1).flatten(-2).movedim(-1, 1)
    e = e.to(dtype)
    if any(geometry.extra):
        e = F.pad(e, [n for extra in reversed(geometry.extra) for n in (0, extra)])
    kernel, bias = weights.kernel.to(dtype), weights.bias.to(dtype)
    return torch.convolution(e, kernel, bias, *convolution_arguments(geometry, x.shape[1]))


def _bend(maps: Tensor, weights: MapWeights, dtype: torch.dtype) -> Tensor:
    return F.prelu(maps, weights.slope.to(maps.dtype)).to(dtype)


def _mix(maps: Tensor, weights: MapWeights) -> Tensor:
    """M maps, at every position."""
    return torch.convolution(maps, *_pointwise(maps, weights))


def _pointwise(maps: Tensor, weights: MapWeights) -> tuple[Any, ...]:
    """M as the weight of a convolution of the maps, and its other arguments."""
    ndim = maps.dim() - 2
    weight = weights.mix.to(maps.dtype).view(*weights.mix.shape, *[1] * ndim)
    geometry = Geometry((1,) * ndim, (1,) * ndim, (0,) * ndim, (1,) * ndim, (0,) * ndim)
    return weight, None, *convolution_arguments(geometry, 1)


# ---------------------------------------------------------------------------------------- operator
class _MixedMaps(torch.autograd.Function):
    """mixed_maps with a backward pass that computes the maps again, tile by tile."""

    @staticmethod
    def forward(
        plan: MapPlan, x: Tensor, mean: Tensor | None, variance: Tensor | None, *tensors: Tensor
    ) -> Tensor:
        weights, total = MapWeights(*tensors), None
        stay = plan.uses_batch and plan.momentum is None
        running = (None, None) if stay else (mean, variance)
        inner = _fastest_format(x)
        for tile in _tiles(x, weights, plan):
            part = weights.of_channels(tile, x.shape[1])
            maps = _maps(inner(x[:, tile]), part, _of_maps(running, tile, weights, x), plan)
            y = promote(_mix(maps, part))
            total = y if total is None else total.add_(y)
        assert total is not None
        return total.to(plan.dtype).contiguous(memory_format=memory_format(x))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.plan, x, mean, variance, *tensors = inputs
        ctx.tiles = _tiles(x, MapWeights(*tensors), ctx.plan)
        # Clones: a later training step changes the running statistics in place.
        eval_only = ctx.plan.has_norm and not ctx.plan.uses_batch
        running = [mean.clone(), variance.clone()] if eval_only else [None, None]
        ctx.save_for_backward(x, *running, *tensors)

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        x, mean, variance, *tensors = ctx.saved_tensors
        needs = [ctx.needs_input_grad[1], *ctx.needs_input_grad[4:]]
        with torch.autocast(device_type=x.device.type, enabled=False):
            if graph_is_wanted():

                def composition(x: Tensor, *tensors: Tensor) -> Tensor:
                    weights = MapWeights(*tensors)
                    return _mix(_maps(x, weights, (mean, variance), ctx.plan), weights)

                grads = differentiable_grads(composition, [x, *tensors], needs, grad_y)
            else:
                grads = _grads(ctx, MapWeights(*tensors), needs, grad_y)
        return (None, grads[0], None, None, *grads[1:])


def _grads(
    ctx: Any, weights: MapWeights, needs: Sequence[bool], grad_y: Tensor
) -> list[Tensor | None]:
    """Gradients of x and the weights, from those of every tile."""
    x, mean, variance = ctx.saved_tensors[:3]
    inner = _fastest_format(x)
    grad_y, parts = inner(grad_y), []
    for tile in ctx.tiles:
        part = weights.of_channels(tile, x.shape[1])
        running = _of_maps((mean, variance), tile, weights, x)
        parts.append(_tile_grads(inner(x[:, tile]), part, running, ctx.plan, needs, grad_y))
    # Channels stand in dimension 1 of x and of M, in dimension 0 of the others.
    grads: list[Tensor | None] = []
    for i, found in enumerate(zip(*parts, strict=True)):
        joined = None if found[0] is None else torch.cat(found, dim=1 if i in (0, 4) else 0)
        grads.append(joined)
    if grads[0] is not None:
        grads[0] = grads[0].contiguous(memory_format=memory_format(x))
    return grads


def _tile_grads(
    x: Tensor,
    weights: MapWeights,
    running: Running,
    plan: MapPlan,
    needs: Sequence[bool],
    grad_y: Tensor,
) -> list[Tensor | None]:
    leaves: list[Any] = [
        None if t is None else t.detach().requires_grad_(need)
        for t, need in zip([x, *weights], needs, strict=True)
    ]
    with torch.enable_grad():
        still = replace(plan, momentum=None)  # the forward pass has moved the running statistics
        maps = _maps(leaves[0], MapWeights(*leaves[1:]), running, still)
    wanted = [t for i, t in enumerate(leaves) if t is not None and t.requires_grad and i != 4]
    weight, _, *arguments = _pointwise(maps, weights)
    mask = (bool(wanted), needs[4], False)
    grad_maps, grad_mix, _ = torch.ops.aten.convolution_backward(
        grad_y.to(maps.dtype), maps.detach(), weight, None, *arguments, mask
    )
    found = iter(torch.autograd.grad(maps, wanted, grad_maps) if wanted else ())
    mix = grad_mix.view(weights.mix.shape).to(weights.mix.dtype) if needs[4] else None
    return [
        mix if i == 4 else next(found) if t is not None and t.requires_grad else None
        for i, t in enumerate(leaves)
    ]


def _of_maps(tensors: Running, tile: slice, weights: MapWeights, x: Tensor) -> Running:
    """Tensors (C m,) cut to the maps of a tile of channels."""
    m = len(weights.kernel) // x.shape[1]
    first, second = (None if t is None else t[tile.start * m : tile.stop * m] for t in tensors)
    return first, second


def _tiles(x: Tensor, weights: MapWeights, plan: MapPlan) -> list[slice]:
    """The channels whose maps are held together."""
    maps = len(weights.kernel) // x.shape[1]
    positions = math.prod(plan.geometry.output_size(x.shape[2:]))
    return channel_tiles(x, x.shape[0] * maps * positions * plan.dtype.itemsize)


def _fastest_format(x: Tensor) -> Callable[[Tensor], Tensor]:
    """What brings images into the memory format in which grouped convolutions are fastest."""
    last = CHANNELS_LAST.get(x.dim(), torch.contiguous_format)
    layout = last if x.device.type == "cpu" else torch.contiguous_format
    return partial(torch.Tensor.contiguous, memory_format=layout)
