"""The layer written down as mathematics, with none of the library's ops: what tests compare to."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from conv_kan import KANConv, create_basis

BASES = ("bspline", "chebyshev", "gram", "legendre", "rbf")
IMAGE = (7, 6, 5)
CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
BASE = {"silu": lambda x: x * torch.sigmoid(x), "gelu": F.gelu, "identity": lambda x: x}


# The arguments that set the number of functions, and many of them.
ORDERS = {
    "bernstein": {"degree": 12},
    "bspline": {"grid_size": 16, "spline_order": 5},
    "chebyshev": {"degree": 12},
    "fourier": {"num_frequencies": 8},
    "gram": {"degree": 8},
    "jacobi": {"degree": 12},
    "legendre": {"degree": 12},
    "monomial": {"degree": 12},
    "rational": {"num_groups": 8},
    "rbf": {"grid_size": 24},
    "relu": {"g": 12, "k": 6},
    "shared_spline": {"grid_size": 32, "spline_order": 5},
    "wavelet": {"num_wavelets": 12},
}


def shaped_basis(name: str, **options: object):
    """A basis whose learned shape is away from its initial value."""
    basis = create_basis(name, **options)
    with torch.no_grad():
        for p in basis.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return basis


def plain_layer(c_in: int, c_out: int, kernel: object, **options: object) -> KANConv:
    """A KANConv that is only its two convolutions."""
    return KANConv(c_in, c_out, kernel, norm=None, activation=None, **options)


def naive_conv(layer: KANConv, x: Tensor) -> Tensor:
    """W_basis * phi(x) + W_base * base(x), group by group, from zero-padded maps."""
    g, n = layer.geometry, layer.geometry.ndim
    phi = layer.basis(x)
    out = []
    per_in, per_out = layer.c_in // g.groups, layer.c_out // g.groups
    k = layer.basis.num_functions
    for i in range(g.groups):
        rows = slice(i * per_out, (i + 1) * per_out)
        maps = phi[:, i * per_in * k : (i + 1) * per_in * k]
        y = _conv(maps, layer.basis_weight[rows].reshape(per_out, per_in * k, *g.kernel_size), g, n)
        if layer.base_weight is not None:
            base = BASE[layer.base](x[:, i * per_in : (i + 1) * per_in])
            y = y + _conv(base, layer.base_weight[rows], g, n)
        out.append(y)
    return torch.cat(out, dim=1)


def _conv(maps: Tensor, weight: Tensor, g: object, n: int) -> Tensor:
    pads = [p for d in reversed(range(n)) for p in (g.padding[d], g.padding[d] + g.extra[d])]
    return CONV[n](F.pad(maps, pads), weight, stride=g.stride, dilation=g.dilation)


def gradients(y: Tensor, grad_y: Tensor, sources: list[Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(y, sources, grad_y, allow_unused=True))
