"""The wavelets of all edges, tile by tile."""

from __future__ import annotations

import torch
from torch import Tensor

from conv_kan.ops.maths.dtypes import promote
from conv_kan.ops.maths.edges import Edges
from conv_kan.ops.maths.taps import add_taps, take_taps
from conv_kan.ops.maths.wavelet_slopes import value_and_slope
from conv_kan.ops.maths.wavelets import REACH, WAVELETS


def add_outputs(edges: Edges, v: Tensor, wavelet: str) -> None:
    """v[o] += sum_c w[o, c] * psi((x_c - tau_oc) / s_oc); v (O, B, *S_out)."""
    for group, outputs, samples in edges.tiles():
        values = WAVELETS[wavelet](edges.inputs(group, outputs, samples)).to(edges.rows.dtype)
        taps = torch.bmm(edges.rows[outputs], values)
        add_taps(v[outputs, samples], taps, edges.size, edges.geometry)


def pull_back(
    edges: Edges, grad_v: Tensor, v: Tensor | None, wavelet: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of columns, rows, scale and translation; v is computed again if it is asked for.

    With G the gradient of a wavelet's value: dx = sum_o G psi' / s, dtau = -G psi' / s summed over
    samples and positions, ds = the same times u.
    """
    dtype, geometry = edges.rows.dtype, edges.geometry
    grad_columns = torch.zeros_like(edges.columns)
    grad_rows = torch.zeros_like(promote(edges.rows))
    grad_scale, grad_shift = torch.zeros_like(edges.scale), torch.zeros_like(edges.scale)
    for group, outputs, samples in edges.tiles():
        u = edges.inputs(group, outputs, samples).clamp_(-REACH[wavelet], REACH[wavelet])
        value, slope = value_and_slope(wavelet, u)
        value, rows = value.to(dtype), edges.rows[outputs]
        if v is not None:
            add_taps(v[outputs, samples], torch.bmm(rows, value), edges.size, geometry)
        taps = take_taps(grad_v[outputs, samples], edges.size, geometry).to(dtype)
        grad_rows[outputs] += torch.bmm(taps, value.transpose(1, 2))
        slope.mul_(torch.bmm(rows.transpose(1, 2), taps)).mul_(edges.inverse[outputs])
        target = grad_columns[group][:, samples]
        target += slope.sum(0).view(target.shape)
        grad_shift[outputs] -= slope.sum(2)
        grad_scale[outputs] -= slope.mul_(u).sum(2)
    return grad_columns, grad_rows, grad_scale, grad_shift
