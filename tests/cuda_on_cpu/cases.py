"""Inputs of the CUDA kernels, and their results beside those of eager torch and of float64."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from conv_kan import EfficientKANLinear
from conv_kan.bases import Basis, create_basis
from conv_kan.ops import cupy, plain, wavelet_conv
from conv_kan.ops.maths.activations import ACTIVATIONS
from conv_kan.ops.maths.buffers import empty_buffer
from conv_kan.ops.maths.expansion import Expansion
from conv_kan.ops.maths.geometry import Geometry, make_geometry
from conv_kan.ops.maths.plan import Inputs, Plan, Wanted
from conv_kan.ops.rational import group_rational

F32, F16, BF16, F64 = torch.float32, torch.float16, torch.bfloat16, torch.float64
# What is added to twice the error of eager torch, which can be exact by chance. In float64, where
# eager torch is what kernels are compared with, and in float32: a few roundings; else half of one.
EPSILON = {F32: 1e-6, F16: 5e-4, BF16: 4e-3, F64: 2e-14}
UNBOUNDED = ("monomial", "rational", "wavelet")  # which large values would overflow
SPECIAL = (-1e4, -30.0, -1.0, -0.5, 0.0, 0.2, 0.6, 1.0, 2.0, 30.0, 1e4)


ELEMENTWISE = ("e", "e filled again", "dx", "du", "F", "y")  # the other tensors are sums


class Outcome(NamedTuple):
    """One tensor as the kernel, eager torch in the same dtype and float64 compute it."""

    name: str
    kernel: Tensor
    eager: Tensor
    truth: Tensor

    @property
    def error(self) -> float:
        return worst(self.kernel, self.truth, self.name not in ELEMENTWISE)

    @property
    def eager_error(self) -> float:
        return worst(self.eager, self.truth, self.name not in ELEMENTWISE)

    @property
    def bound(self) -> float:
        """Twice the error of eager torch, and EPSILON."""
        return 2 * self.eager_error + EPSILON[self.kernel.dtype]


class Case(NamedTuple):
    """Arguments of an expansion; `into` is the buffer's dtype; whether the shape is learned."""

    x: Tensor
    shape: list[Tensor]
    expansion: Expansion
    geometry: Geometry
    into: torch.dtype
    learned: bool = True

    @property
    def plan(self) -> Plan:
        return Plan(self.expansion, self.geometry, self.into, self.x.shape[2:])


def make_case(
    name: str | Basis,
    channels: int = 4,
    size: tuple[int, ...] = (2, 6),
    base: str | None = "silu",
    dtype: torch.dtype = F32,
    into: torch.dtype | None = None,
    last: bool = False,
    seed: int = 1,
) -> Case:
    """An expansion whose x (size[0], channels, *size[1:]) has knots and large values in it."""
    torch.manual_seed(seed)
    basis = create_basis(name) if isinstance(name, str) else name
    basis.bind(channels)
    with torch.no_grad():
        for parameter in basis.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    constants = tuple(basis.constants[j] for j in range(len(basis.constants)))
    function = ACTIVATIONS[base] if base else None
    expansion = Expansion(
        basis.functions,
        basis.num_functions,
        constants,
        basis.scale,
        function,
        base,
        basis.formula(),
    )
    x = torch.randn(size[0], channels, *size[1:])
    count = min(len(SPECIAL), x.numel())
    if name not in UNBOUNDED:
        x.view(-1)[:count] = torch.tensor(SPECIAL[:count])
    x = x.to(dtype)
    if last:
        x = x.contiguous(memory_format=torch.channels_last)
    ndim = len(size) - 1
    geometry = make_geometry(ndim, 3, 1, 1, 1, 1) if ndim else Geometry()
    return Case(x, [s.detach() for s in basis.shape_of(x)], expansion, geometry, into or dtype)


def knots_case(order: int = 3, dtype: torch.dtype = F32, channels: int = 37, seed: int = 1) -> Case:
    """The splines of EfficientKANLinear on knots that follow data, some beyond all of them."""
    torch.manual_seed(seed)
    layer = EfficientKANLinear(channels, 1, spline_order=order)
    x = torch.randn(9, channels)
    layer.update_grid(0.5 * x)
    return Case(x.to(dtype), [layer.grid.to(dtype)], layer.expansion, Geometry(), dtype, False)


def worst(found: Tensor, expected: Tensor, summed: bool) -> float:
    """The largest error of an element, relative to it where it is more than 1.

    Of sums over many elements, whose terms cancel: relative to the largest of them.
    """
    if not expected.numel():
        return 0.0
    assert torch.equal(found.isnan(), expected.isnan())
    size = expected.nan_to_num().abs()
    error = (found.double() - expected).abs() / (size.max() if summed else size).clamp(min=1.0)
    return error.nan_to_num().max().item()


def run_expansion(case: Case, u: Tensor | None = None) -> Iterator[Outcome]:
    """Forward and backward, with everything wanted and the buffer filled again."""
    x, shape, into = case.x, case.shape, case.into
    wanted = Wanted([True, u is not None, *[case.learned] * len(shape)], True)
    grad = torch.randn_like(empty_buffer(x, replace(case.plan, dtype=F32))).to(into)

    def run(module: Any, wide: torch.dtype | None, dtype: torch.dtype) -> list[Tensor]:
        shapes = [s.to(wide or s.dtype) for s in shape]
        v = None if u is None else u.to(wide or u.dtype)
        inputs, plan = Inputs(x.to(wide or x.dtype), v, shapes), replace(case.plan, dtype=dtype)
        e = module.expand_inputs(inputs, plan)
        buffer = grad.to(dtype, copy=True)
        grads = module.pull_back(buffer, inputs, plan, wanted)
        return [e, buffer, *(g for g in grads if g is not None)]

    names = ["e", "e filled again", "dx", *(["du"] if u is not None else [])]
    names += [f"dshape {i}" for i in range(len(shape)) if case.learned]
    kernel, eager = run(cupy, None, into), run(plain, None, into)
    yield from map(Outcome, names, kernel, eager, run(plain, F64, F64))


def run_rational(
    size: tuple[int, ...],
    dtype: torch.dtype = F32,
    channels_last: bool = True,
    groups: int = 2,
    orders: tuple[int, int] = (5, 4),
    seed: int = 1,
) -> Iterator[Outcome]:
    """A group rational of x, 0 among its values, with a coefficient 0; orders of P and Q."""
    torch.manual_seed(seed)
    x, (m, n) = torch.randn(size).to(dtype), orders
    a, b = torch.randn(m + 1) * 0.5, torch.randn(groups, n) * 0.5
    b[0, 1:2] = 0.0
    x.view(-1)[:1] = 0.0
    grad = torch.randn(x.shape).to(dtype)

    def compute(leaves: list[Tensor], backend: str) -> Tensor:
        return group_rational(leaves[0], leaves[1], leaves[2], channels_last, backend)

    yield from _differentiate(compute, [x, a, b], grad, ["F", "dx", "da", "db"])


def run_wavelet(
    wavelet: str,
    channels: int = 3,
    c_out: int = 4,
    size: tuple[int, ...] = (2, 5, 4),
    dtype: torch.dtype = F32,
    mix: bool = True,
    groups: int = 1,
    kernel: int = 3,
    stride: int = 1,
    seed: int = 1,
) -> Iterator[Outcome]:
    """A convolution with a wavelet for every edge."""
    torch.manual_seed(seed)
    ndim, per_group = len(size) - 1, channels // groups
    geometry = make_geometry(ndim, kernel, stride, kernel // 2, 1, groups) if ndim else Geometry()
    tensors = [
        torch.randn(size[0], channels, *size[1:]).to(dtype),
        torch.randn(c_out, per_group, *geometry.kernel_size).to(dtype),
        1.0 + torch.rand(c_out, per_group),
        torch.randn(c_out, per_group),
        *([torch.randn(c_out, c_out // groups)] if mix else []),
    ]

    def compute(leaves: list[Tensor], backend: str) -> Tensor:
        mixing = leaves[4] if mix else None
        return wavelet_conv.wavelet_conv(*leaves[:4], mixing, wavelet, geometry, backend)

    names = ["y", "dx", "dw", "ds", "dtau", *(["dmix"] if mix else [])]
    grad = torch.randn(size[0], c_out, *geometry.output_size(size[1:])).to(dtype)
    yield from _differentiate(compute, tensors, grad, names)


def _differentiate(
    compute: Callable[[list[Tensor], str], Tensor],
    tensors: list[Tensor],
    grad: Tensor,
    names: list[str],
) -> Iterator[Outcome]:
    """The result and the gradients of all tensors."""

    def run(backend: str, wide: torch.dtype | None) -> list[Tensor]:
        leaves = [t.to(wide or t.dtype, copy=True).requires_grad_() for t in tensors]
        y = compute(leaves, backend)
        y.backward(grad.to(y.dtype))
        return [y.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]

    kernel, eager = run("cupy", None), run("torch", None)
    yield from map(Outcome, names, kernel, eager, run("torch", F64))


def check(outcomes: Iterable[Outcome]) -> list[Tensor]:
    """Hold every tensor to twice the error of eager torch; returns what the kernels computed."""
    outcomes = list(outcomes)
    for outcome in outcomes:
        assert outcome.kernel.dtype == outcome.eager.dtype
        assert outcome.error <= outcome.bound, outcome.name
    return [outcome.kernel for outcome in outcomes]


def compare(*case: Any, u: Tensor | None = None, upto: int | None = None) -> list[Tensor]:
    """`check` of the first `upto` tensors of an expansion, and their strides."""
    outcomes = list(run_expansion(Case(*case), u))[:upto]
    for outcome in outcomes[:3]:
        assert outcome.kernel.stride() == outcome.eager.stride()
    return check(outcomes)


def compare_rational(*args: Any, **kwargs: Any) -> list[Tensor]:
    """`check` of a group rational."""
    return check(run_rational(*args, **kwargs))


def compare_wavelet(*args: Any, **kwargs: Any) -> list[Tensor]:
    """`check` of a convolution of wavelets."""
    return check(run_wavelet(*args, **kwargs))
