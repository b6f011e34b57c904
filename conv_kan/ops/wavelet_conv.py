"""Convolution over a wavelet for every edge: v[o] = sum_c w[o, c] * psi((x_c - tau_oc) / s_oc).

The wavelets of one output are a map of the size of x, so those of all outputs are never held
together: forward and backward go through tiles of (outputs, samples). In a tile the convolution is
a matrix product whose rows are the kernel's positions ("taps"), which are then shifted and added.
Zero padding acts on psi: a padded position contributes 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from conv_kan.ops.backend import takes_cupy, uses_cpp
from conv_kan.ops.cpp import wavelet as cpp_wavelet
from conv_kan.ops.cupy import wavelet as cupy_wavelet
from conv_kan.ops.maths.bounds import bounded
from conv_kan.ops.maths.dtypes import promote
from conv_kan.ops.maths.edges import Edges
from conv_kan.ops.maths.geometry import Geometry, convolution_arguments
from conv_kan.ops.maths.memory import memory_format
from conv_kan.ops.maths.modes import autocast_device, needs_composition, only_compiles
from conv_kan.ops.maths.twice import differentiable_grads, graph_is_wanted
from conv_kan.ops.maths.wavelets import WAVELETS
from conv_kan.ops.plain import wavelet as plain_wavelet


def wavelet_conv(
    x: Tensor,
    weight: Tensor,
    scale: Tensor,
    translation: Tensor,
    mix: Tensor | None,
    wavelet: str,
    geometry: Geometry,
    backend: str = "torch",
) -> Tensor:
    """y[o] = sum_p M[o, p] v[p], v[o] = sum_c w[o, c] * psi((x_c - tau_oc) / s_oc).

    Shapes: x (B, C, *S); weight w (O, C/groups, *kernel); scale s, translation tau (O, C/groups);
    mix M (O, O/groups) within groups, or None for y = v; y (B, O, *S_out).
    Numerics: psi at least in float32, the products in the dtype of the weight, which y has too.
    Training keeps x; psi and v are computed again in backward; create_graph=True, exporters and
    torch.func get a composition, which holds the wavelets of all edges at once.
    `backend` is one of conv_kan.names.BACKENDS.
    Raises: RuntimeError if an explicit backend cannot run -> reason and remedy.
    """
    if x.device.type == "cpu" and backend != "cupy":
        dtypes = promote(x).dtype, weight.dtype
        kernels = not needs_composition() and uses_cpp(
            x, backend, lambda: cpp_wavelet.kernels(wavelet, *dtypes)
        )
    else:
        kernels = takes_cupy(x.device.type, x.dtype, backend)
        kernels = kernels and cupy_wavelet.fits(geometry.kernel_size, backend)
    with torch.autocast(device_type=autocast_device(x), enabled=False):
        if needs_composition() and not only_compiles():
            return _compose(x, weight, scale, translation, mix, wavelet, geometry)
        return _forward(x, weight, scale, translation, mix, wavelet, _numbers(geometry), kernels)


def _compose(
    x: Tensor,
    weight: Tensor,
    scale: Tensor,
    translation: Tensor,
    mix: Tensor | None,
    wavelet: str,
    geometry: Geometry,
) -> Tensor:
    """The same function as a composition of differentiable operations."""
    groups, ndim, c_out = geometry.groups, geometry.ndim, weight.shape[0]
    per_edge = (groups, c_out // groups, weight.shape[1], *[1] * ndim)
    u = bounded(promote(x)).unflatten(1, (groups, 1, weight.shape[1])) - translation.view(per_edge)
    maps = WAVELETS[wavelet](u / scale.view(per_edge)).to(weight.dtype)
    if ndim == 0:
        v = (maps.flatten(1, 2) * weight).sum(2)
    else:
        maps = F.pad(maps.flatten(1, 3), [n for e in reversed(geometry.extra) for n in (0, e)])
        v = torch.convolution(maps, weight, None, *convolution_arguments(geometry, c_out))
    if mix is None:
        return v
    blocks = mix.view(groups, -1, mix.shape[1])
    v = v.unflatten(1, (groups, c_out // groups))
    return torch.einsum("gop,bgp...->bgo...", blocks, v).flatten(1, 2)


def _numbers(geometry: Geometry) -> list[int]:
    """A geometry as an operator of torch takes it; the kernel is read off the weight."""
    g = geometry
    return [g.groups, *g.stride, *g.padding, *g.dilation, *g.extra]


def _geometry(weight: Tensor, numbers: Sequence[int]) -> Geometry:
    groups, ndim = numbers[0], weight.dim() - 2
    ends = pairwise(1 + i * ndim for i in range(5))
    stride, padding, dilation, extra = (tuple(numbers[i:j]) for i, j in ends)
    return Geometry(tuple(weight.shape[2:]), stride, padding, dilation, extra, groups)


def _compute(
    x: Tensor,
    weight: Tensor,
    scale: Tensor,
    translation: Tensor,
    mix: Tensor | None,
    wavelet: str,
    numbers: list[int],
    kernels: bool = False,
) -> Tensor:
    geometry = _geometry(weight, numbers)
    edges = Edges(x, weight, scale, translation, geometry)
    v = edges.new_maps()
    (_module(x) if kernels else plain_wavelet).add_outputs(edges, v, wavelet)
    y = v if mix is None else _mix(v, mix, geometry.groups)
    return _images(y, x, weight.dtype)


def _module(x: Tensor) -> Any:
    """The compiled kernels for the device of x."""
    return cpp_wavelet if x.device.type == "cpu" else cupy_wavelet


_forward = torch.library.custom_op("conv_kan::wavelet_conv", _compute, mutates_args=())


@_forward.register_fake
def _(
    x: Tensor,
    weight: Tensor,
    scale: Tensor,
    translation: Tensor,
    mix: Tensor | None,
    wavelet: str,
    numbers: list[int],
    kernels: bool = False,
) -> Tensor:
    size = _geometry(weight, numbers).output_size(x.shape[2:])
    y = x.new_empty((x.shape[0], weight.shape[0], *size), dtype=weight.dtype)
    return y.contiguous(memory_format=memory_format(x))


def _compute_backward(
    grad_y: Tensor,
    x: Tensor,
    weight: Tensor,
    scale: Tensor,
    translation: Tensor,
    mix: Tensor | None,
    wavelet: str,
    numbers: list[int],
    kernels: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, weight, scale, translation and mix (empty without one)."""
    geometry = _geometry(weight, numbers)
    edges, groups = Edges(x, weight, scale, translation, geometry), geometry.groups
    grad_out = promote(grad_y).movedim(1, 0).contiguous()
    if mix is None:
        grad_mix, grad_v, v = x.new_empty(0), grad_out, None
    else:
        grad_v, v = _mix(grad_out, mix, groups, transpose=True), edges.new_maps()
    grads = (_module(x) if kernels else plain_wavelet).pull_back(edges, grad_v, v, wavelet)
    grad_x, grad_rows, grad_scale, grad_shift = grads
    if mix is not None and v is not None:
        columns = v.view(groups, mix.shape[1], -1).transpose(1, 2)
        grad_mix = torch.bmm(grad_out.view(groups, mix.shape[1], -1), columns).view(mix.shape)
        grad_mix = grad_mix.to(mix.dtype)
    return (
        _images(grad_x.view(x.shape[1], x.shape[0], *x.shape[2:]), x, x.dtype),
        grad_rows.transpose(1, 2).contiguous().view(weight.shape).to(weight.dtype),
        grad_scale.to(scale.dtype),
        grad_shift.to(translation.dtype),
        grad_mix,
    )


_backward = torch.library.custom_op(
    "conv_kan::wavelet_conv_backward", _compute_backward, mutates_args=()
)


@_backward.register_fake
def _(
    grad_y: Tensor,
    x: Tensor,
    weight: Tensor,
    scale: Tensor,
    translation: Tensor,
    mix: Tensor | None,
    *arguments: Any,
) -> tuple[Tensor, ...]:
    grad_x = torch.empty_like(x).contiguous(memory_format=memory_format(x))
    grad_mix = x.new_empty(0) if mix is None else torch.empty_like(mix)
    return (
        grad_x,
        weight.new_empty(weight.shape),
        scale.new_empty(scale.shape),
        translation.new_empty(translation.shape),
        grad_mix,
    )


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:5])
    ctx.arguments = inputs[5:]


def _backward_of_forward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
    tensors = ctx.saved_tensors
    nothing = [None] * len(ctx.arguments)
    if graph_is_wanted():
        wavelet, numbers = ctx.arguments[:2]
        composition = partial(_compose, wavelet=wavelet, geometry=_geometry(tensors[1], numbers))
        needs = ctx.needs_input_grad[:5]
        return (*differentiable_grads(composition, tensors, needs, grad_y), *nothing)
    *grads, grad_mix = _backward(grad_y, *tensors, *ctx.arguments)
    return (*grads, None if tensors[4] is None else grad_mix, *nothing)


_forward.register_autograd(_backward_of_forward, setup_context=_keep)

# The operators, and the operations of torch that they consist of.
COMPOSED = {
    torch.ops.conv_kan.wavelet_conv.default: _compute,
    torch.ops.conv_kan.wavelet_conv_backward.default: _compute_backward,
}


def _mix(v: Tensor, mix: Tensor, groups: int, transpose: bool = False) -> Tensor:
    """M v, or its transpose, within groups; v (O, B, *S_out)."""
    blocks = mix.view(groups, -1, mix.shape[1]).to(v.dtype)
    if transpose:
        blocks = blocks.transpose(1, 2)
    return torch.bmm(blocks, v.view(groups, mix.shape[1], v.shape[1:].numel())).view(v.shape)


def _images(maps: Tensor, x: Tensor, dtype: torch.dtype) -> Tensor:
    """(C, B, *S) -> (B, C, *S) in the memory format of x."""
    return maps.movedim(0, 1).to(dtype).contiguous(memory_format=memory_format(x))
