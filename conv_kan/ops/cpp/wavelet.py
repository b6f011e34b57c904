"""The wavelets of all edges by the kernels of wavelet.cpp.

conv_kan.ops.plain.wavelet is the reference. The matrix products remain torch's.
"""

from __future__ import annotations

import ctypes
import functools

import torch
from torch import Tensor

from conv_kan.ops.cpp.build import TYPES, load_library
from conv_kan.ops.cpp.launch import launch
from conv_kan.ops.cpp.threads import Team, make_team
from conv_kan.ops.maths.edges import Edges
from conv_kan.ops.maths.formula import camel_case
from conv_kan.ops.maths.taps import add_taps, take_taps

Tile = tuple[int, slice, slice]  # group, outputs, samples

# Elements of one tile of wavelets: few enough for the third cache of a CPU, many enough that the
# calls around them do not count.
_TILE = 1 << 20

_LONG, _POINTER = ctypes.c_longlong, ctypes.c_void_p
_TENSORS = ("x", "inverse", "shift", "values", "grad", "grad_x", "grad_scale", "grad_translation")


class Call(ctypes.Structure):
    """The struct Call of wavelet.cpp."""

    _fields_ = (
        *((name, _POINTER) for name in _TENSORS),
        *((name, _LONG) for name in ("outputs", "channels", "positions", "step")),
        ("team", Team),
    )


@functools.cache
def kernels(wavelet: str, number: torch.dtype, value: torch.dtype) -> ctypes.CDLL:
    """The library for a wavelet, the dtype of its argument and that of its values.

    Raises: CannotCompileError.
    """
    library = load_library(
        "wavelet.cpp",
        (
            ("KAN_WAVELET", camel_case(wavelet)),
            ("KAN_NUMBER", TYPES[number]),
            ("KAN_VALUE", TYPES[value]),
        ),
    )
    for operation in (library.kan_wavelet_values, library.kan_wavelet_pull_back):
        operation.argtypes, operation.restype = [ctypes.POINTER(Call)], None
    return library


def add_outputs(edges: Edges, v: Tensor, wavelet: str) -> None:
    """v[o] += sum_c w[o, c] * psi((x_c - tau_oc) / s_oc); v (O, B, *S_out)."""
    for tile in edges.tiles(_TILE):
        _, outputs, samples = tile
        taps = torch.bmm(edges.rows[outputs], _values(edges, tile, wavelet))
        add_taps(v[outputs, samples], taps, edges.size, edges.geometry)


def pull_back(
    edges: Edges, grad_v: Tensor, v: Tensor | None, wavelet: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of columns, rows, scale and translation; v is computed again if it is asked for."""
    dtype = edges.rows.dtype
    grad_rows = torch.zeros_like(edges.rows, dtype=edges.columns.dtype)
    grad_scale, grad_translation = (torch.zeros_like(edges.inverse) for _ in range(2))
    grad_columns = torch.zeros_like(edges.columns)
    for tile in edges.tiles(_TILE):
        group, outputs, samples = tile
        values, rows = _values(edges, tile, wavelet), edges.rows[outputs]
        if v is not None:
            add_taps(v[outputs, samples], torch.bmm(rows, values), edges.size, edges.geometry)
        taps = take_taps(grad_v[outputs, samples], edges.size, edges.geometry).to(dtype)
        grad_rows[outputs] += torch.bmm(taps, values.transpose(1, 2))
        grad = torch.bmm(rows.transpose(1, 2), taps, out=values)
        call, tensors = _call(edges, tile)
        tensors |= {"grad": grad, "grad_x": grad_columns[group][:, samples]}
        tensors["grad_scale"], tensors["grad_translation"] = (
            t[outputs] for t in (grad_scale, grad_translation)
        )
        key = wavelet, edges.columns.dtype, dtype
        launch(kernels, key, "kan_wavelet_pull_back", call, tensors)
    return grad_columns, grad_rows, grad_scale.squeeze(2), grad_translation.squeeze(2)


def _values(edges: Edges, tile: Tile, wavelet: str) -> Tensor:
    """psi of a tile: (outputs, C/groups, samples * positions)."""
    dtype = edges.rows.dtype
    call, tensors = _call(edges, tile)
    out = torch.empty((call.outputs, call.channels, call.positions), dtype=dtype)
    key = wavelet, edges.columns.dtype, dtype
    launch(kernels, key, "kan_wavelet_values", call, {**tensors, "values": out})
    return out


def _call(edges: Edges, tile: Tile) -> tuple[Call, dict[str, Tensor]]:
    """The numbers and the tensors that both kernels need."""
    group, outputs, samples = tile
    x = edges.columns[group][:, samples]
    inverse = edges.inverse[outputs].to(x.dtype).contiguous()
    shift = edges.shift[outputs].to(x.dtype).contiguous()
    call = Call(outputs=inverse.shape[0], channels=x.shape[0], positions=x[0].numel())
    call.step, call.team = x.stride(0), make_team(inverse.shape[0] * x.numel())
    return call, {"x": x, "inverse": inverse, "shift": shift}
