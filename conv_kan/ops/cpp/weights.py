"""Fills the arguments of the kernels in weights.cpp and calls them."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import torch
from torch import Tensor

from conv_kan.ops.cpp.build import TYPES, CannotCompileError, load_library
from conv_kan.ops.cpp.launch import launch, prepare
from conv_kan.ops.cpp.threads import Team, make_team
from conv_kan.ops.maths.dtypes import promote, working_dtype
from conv_kan.ops.maths.expansion import Expansion
from conv_kan.ops.maths.modes import lasting_tensors
from conv_kan.ops.maths.plan import ForwardWeights, Plan, WeightGrads, Weights
from conv_kan.ops.plain import weights as reference
from conv_kan.ops.plain.borders import BoxTable, box_table

_LONG, _POINTER = ctypes.c_longlong, ctypes.c_void_p
_TENSORS = (
    *("basis", "base", "edge", "source", "grad_edge", "weight"),
    *("level", "table", "grad_map", "constants", "inside", "box"),
)
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


def serves(value: torch.dtype, stored: torch.dtype) -> bool:
    """Whether there is a library for the dtypes of a layer's weights and its convolution."""
    if value not in TYPES or stored not in TYPES:
        return False
    try:
        prepare(lambda: kernels(value, stored))
    except CannotCompileError:
        return False
    return True


@functools.cache
def kernels(value: torch.dtype, stored: torch.dtype) -> ctypes.CDLL:
    """The library for dtypes that have one. Raises: CannotCompileError."""
    macros = ("KAN_VALUE", TYPES[value]), ("KAN_STORED", TYPES[stored])
    library = load_library("weights.cpp", macros)
    for operation in (library.kan_join, library.kan_split):
        operation.argtypes, operation.restype = [ctypes.POINTER(Call)], None
    return library


def joint_weight(weights: Weights, plan: Plan) -> Tensor:
    """conv_kan.ops.plain.joint_weight, in one pass over the weights."""
    basis = weights.basis
    if basis.numel() == 0 or not serves(basis.dtype, plan.dtype):
        return reference.joint_weight(weights, plan)
    weight, held = _joint(weights, plan)
    _run("kan_join", (basis.dtype, plan.dtype), held, plan.expansion, None)
    return weight


def forward_weights(weights: Weights, plan: Plan) -> ForwardWeights:
    """conv_kan.ops.plain.forward_weights, in one pass over the weights."""
    basis, bias = weights.basis, weights.bias
    if basis.numel() == 0 or not serves(basis.dtype, plan.dtype):
        return reference.forward_weights(weights, plan)
    weight, held = _joint(weights, plan)
    level = table = None
    boxes, wide = box_table(plan.geometry, plan.size), working_dtype(basis)
    if plan.expansion.constants:
        level = held["level"] = basis.new_empty(len(weight), dtype=wide)
        if len(boxes.inside) > 1:
            shape = (1, len(weight), *plan.geometry.output_size(plan.size))
            table = held["table"] = basis.new_empty(shape, dtype=wide)
    _run("kan_join", (basis.dtype, plan.dtype), held, plan.expansion, boxes)
    if bias is not None:
        level = promote(bias) if level is None else level + promote(bias)
    return ForwardWeights(weight, None if level is None else level.to(plan.dtype), table)


def _joint(weights: Weights, plan: Plan) -> tuple[Tensor, dict[str, Any]]:
    """A joint weight to be written, and the tensors of the call that does."""
    outputs, channels, _, *kernel = weights.basis.shape
    size = (outputs, channels * plan.expansion.num_maps, *kernel)
    weight = weights.basis.new_empty(size, dtype=plan.dtype)
    held = {"basis": weights.basis.contiguous(), "weight": _flat(weight), "edge": _edge(weights)}
    if weights.base is not None:
        held["base"] = weights.base.contiguous()
    return weight, held


def _flat(weight: Tensor) -> Tensor:
    """(O, maps, *kernel) -> (O, maps, taps)."""
    return weight.flatten(2) if weight.dim() > 2 else weight.unsqueeze(2)


def weight_grads(grad_weight: Tensor, grad_y: Tensor, weights: Weights, plan: Plan) -> WeightGrads:
    """conv_kan.ops.plain.weight_grads, in one pass over the gradient."""
    basis = weights.basis
    if basis.numel() == 0 or not serves(basis.dtype, grad_weight.dtype):
        return reference.weight_grads(grad_weight, grad_y, weights, plan)
    grads = WeightGrads(*(_empty_like(t, basis) for t in (basis, weights.base, weights.edge)))
    held = {"basis": grads.basis, "base": grads.base, "weight": _flat(grad_weight)}
    if weights.edge is not None:
        held |= {"grad_edge": grads.edge, "source": basis.contiguous(), "edge": _edge(weights)}
    if plan.expansion.constants:
        total = promote(grad_y).sum(0)
        held["grad_map"] = total.to(working_dtype(basis)).contiguous()
    boxes = box_table(plan.geometry, plan.size, plan.centered)
    _run("kan_split", (basis.dtype, grad_weight.dtype), held, plan.expansion, boxes)
    return grads


def _edge(weights: Weights) -> Tensor | None:
    """The factors of edges as the kernels read them."""
    return None if weights.edge is None else weights.edge.to(weights.basis.dtype).contiguous()


def _empty_like(weight: Tensor | None, basis: Tensor) -> Any:
    """What receives a gradient, in the dtype of W_basis; None for None."""
    return None if weight is None else torch.empty(weight.shape, dtype=basis.dtype)


def _run(
    operation: str,
    dtypes: tuple[torch.dtype, torch.dtype],
    held: dict[str, Any],
    expansion: Expansion,
    boxes: BoxTable | None,
) -> None:
    basis, weight = held["basis"], held["weight"]
    call = Call(
        outputs=basis.shape[0],
        channels=basis.shape[1],
        functions=basis.shape[2],
        num_constants=len(expansion.constants),
        taps=weight.shape[2],
        scale=expansion.scale,
        team=make_team(basis.numel()),
    )
    if boxes is not None:
        call.boxes, call.positions = len(boxes.inside), len(boxes.box)
    call.output_stride, call.map_stride, call.tap_stride = weight.stride()
    kept = {"constants": _constants(expansion.constants)}
    kept |= {} if boxes is None else boxes._asdict()
    launch(kernels, dtypes, operation, call, {**held, **kept})


@functools.lru_cache(maxsize=1024)
def _constants(values: tuple[float, ...]) -> Tensor:
    with lasting_tensors():
        return torch.tensor(values, dtype=torch.float64)
