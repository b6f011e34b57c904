"""Fills the arguments of the kernels in weights.cpp and calls them."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from conv_kan.ops.cpp.build import TYPES, CannotCompileError, load_library
from conv_kan.ops.cpp.threads import Team, make_team
from conv_kan.ops.maths.dtypes import promote, working_dtype
from conv_kan.ops.maths.expansion import Expansion
from conv_kan.ops.maths.geometry import Geometry
from conv_kan.ops.maths.plan import ForwardWeights
from conv_kan.ops.plain import weights as reference
from conv_kan.ops.plain.borders import BoxTable, box_table

_LONG, _POINTER = ctypes.c_longlong, ctypes.c_void_p
_TENSORS = ("basis", "base", "weight", "level", "table", "grad_map", "constants", "inside", "box")
_SIZES = ("outputs", "channels", "functions", "num_constants", "taps", "boxes", "positions")
_STRIDES = ("output_stride", "map_stride", "tap_stride")


class Call(ctypes.Structure):
    """The struct Call of weights.cpp."""

    _fields_ = (
        *((name, _POINTER) for name in _TENSORS),
        ("scale", ctypes.c_double),
        *((name, _LONG) for name in (*_SIZES, *_STRIDES)),
        ("team", Team),
    )


@functools.cache
def kernels(value: torch.dtype, stored: torch.dtype) -> ctypes.CDLL | None:
    """The library for the dtypes of a layer's weights and its convolution; None without one."""
    if value not in TYPES or stored not in TYPES:
        return None
    macros = ("KAN_VALUE", TYPES[value]), ("KAN_STORED", TYPES[stored])
    try:
        library = load_library("weights.cpp", macros)
    except CannotCompileError:
        return None
    for operation in (library.kan_join, library.kan_split):
        operation.argtypes, operation.restype = [ctypes.POINTER(Call)], None
    return library


def joint_weight(
    basis_weight: Tensor, base_weight: Tensor | None, expansion: Expansion, dtype: torch.dtype
) -> Tensor:
    """conv_kan.ops.plain.joint_weight, in one pass over the weights."""
    library = kernels(basis_weight.dtype, dtype)
    if library is None or basis_weight.numel() == 0:
        return reference.joint_weight(basis_weight, base_weight, expansion, dtype)
    weight, held = _joint(basis_weight, base_weight, expansion, dtype)
    library.kan_join(_call(held, expansion, None))
    return weight


def forward_weights(
    basis_weight: Tensor,
    base_weight: Tensor | None,
    bias: Tensor | None,
    expansion: Expansion,
    geometry: Geometry,
    dtype: torch.dtype,
    size: Sequence[int],
) -> ForwardWeights:
    """conv_kan.ops.plain.forward_weights, in one pass over the weights."""
    library = kernels(basis_weight.dtype, dtype)
    if library is None or basis_weight.numel() == 0:
        return reference.forward_weights(
            basis_weight, base_weight, bias, expansion, geometry, dtype, size
        )
    weight, held = _joint(basis_weight, base_weight, expansion, dtype)
    level = table = None
    boxes, wide = box_table(geometry, tuple(size)), working_dtype(basis_weight)
    if expansion.constants:
        level = held["level"] = basis_weight.new_empty(len(weight), dtype=wide)
        if len(boxes.inside) > 1:
            shape = (1, len(weight), *geometry.output_size(size))
            table = held["table"] = basis_weight.new_empty(shape, dtype=wide)
    library.kan_join(_call(held, expansion, boxes))
    if bias is not None:
        level = promote(bias) if level is None else level + promote(bias)
    return ForwardWeights(weight, None if level is None else level.to(dtype), table)


def _joint(
    basis_weight: Tensor, base_weight: Tensor | None, expansion: Expansion, dtype: torch.dtype
) -> tuple[Tensor, dict[str, Tensor]]:
    """A joint weight to be written, and the tensors of the call that does."""
    outputs, channels, _, *kernel = basis_weight.shape
    size = (outputs, channels * expansion.num_maps, *kernel)
    weight = basis_weight.new_empty(size, dtype=dtype)
    held = {"basis": basis_weight.contiguous(), "weight": _flat(weight)}
    if base_weight is not None:
        held["base"] = base_weight.contiguous()
    return weight, held


def _flat(weight: Tensor) -> Tensor:
    """(O, maps, *kernel) -> (O, maps, taps)."""
    return weight.flatten(2) if weight.dim() > 2 else weight.unsqueeze(2)


def weight_grads(
    grad_weight: Tensor,
    grad_y: Tensor,
    basis_weight: Tensor,
    base_weight: Tensor | None,
    expansion: Expansion,
    geometry: Geometry,
    size: Sequence[int],
) -> tuple[Tensor, Tensor | None]:
    """conv_kan.ops.plain.weight_grads, in one pass over the gradient."""
    library = kernels(basis_weight.dtype, grad_weight.dtype)
    if library is None or basis_weight.numel() == 0:
        return reference.weight_grads(
            grad_weight, grad_y, basis_weight, base_weight, expansion, geometry, size
        )
    grad = torch.empty_like(basis_weight, memory_format=torch.contiguous_format)
    grad_base = None
    held = {"basis": grad, "weight": _flat(grad_weight)}
    if base_weight is not None:
        grad_base = torch.empty_like(base_weight, memory_format=torch.contiguous_format)
        held["base"] = grad_base
    if expansion.constants:
        total = promote(grad_y).sum(0)
        held["grad_map"] = total.to(working_dtype(basis_weight)).contiguous()
    library.kan_split(_call(held, expansion, box_table(geometry, tuple(size))))
    return grad, grad_base


def _call(held: dict[str, Tensor], expansion: Expansion, boxes: BoxTable | None) -> Call:
    """The arguments, which point to tensors that the caller holds or that are kept."""
    basis, weight = held["basis"], held["weight"]
    call = Call(
        outputs=basis.shape[0],
        channels=basis.shape[1],
        functions=basis.shape[2],
        num_constants=len(expansion.constants),
        taps=weight.shape[2],
        scale=expansion.scale,
        constants=_constants(expansion.constants).data_ptr(),
        team=make_team(basis.numel()),
    )
    if boxes is not None:
        call.inside, call.box = boxes.inside.data_ptr(), boxes.box.data_ptr()
        call.boxes, call.positions = len(boxes.inside), len(boxes.box)
    call.output_stride, call.map_stride, call.tap_stride = weight.stride()
    for name, tensor in held.items():
        setattr(call, name, tensor.data_ptr())
    return call


@functools.lru_cache(maxsize=1024)
def _constants(values: tuple[float, ...]) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=torch.float64)
