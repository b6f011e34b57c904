"""Who computes the expansion: plain torch, or kernels compiled from the formulas in cuda/.

"torch" runs anywhere; "cpp" is C++ compiled at first use, for tensors on a CPU; "cupy" is CUDA C++,
for tensors on a GPU. "auto" takes the compiled one for the device of the input where it can run,
and torch otherwise, and says once why.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from conv_kan.ops import plain
from conv_kan.ops.cpp.build import CannotCompileError
from conv_kan.ops.cpp.launch import prepare
from conv_kan.ops.cupy import launch as cupy_launch
from conv_kan.ops.maths.expansion import Expansion
from conv_kan.ops.maths.notices import say_once as _say_once
from conv_kan.ops.maths.plan import ForwardWeights, Inputs, Plan, Wanted, WeightGrads, Weights

_COMPILED = {"cpu": "cpp", "cuda": "cupy"}
_MODULES = {"cpp": "conv_kan.ops.cpp", "cupy": "conv_kan.ops.cupy"}
# Elements of an input below which "auto" does not compile: a network's smallest layers gain less
# in an hour of training than their compiler takes.
_WORTH_COMPILING = 1 << 14
_REFUSAL = "backend={!r} cannot run: {} Or pass backend='auto'."

_RAN: set[Backend] = set()  # a record, which decides nothing


class BackendError(RuntimeError):
    """A backend that was asked for by name cannot run here; the message says why and the remedy."""


class Backend(Protocol):
    """What computes an expansion and weights; conv_kan.ops.plain is the reference."""

    def expand_inputs(self, inputs: Inputs, plan: Plan) -> Tensor:
        """The expansion in a new buffer."""

    def pull_back(
        self, buffer: Tensor, inputs: Inputs, plan: Plan, wanted: Wanted
    ) -> list[Tensor | None]:
        """Gradients of (x, u, *shape) from that of the expansion, which the buffer holds."""

    def fastest_format(
        self, x: Tensor, buffer: int, weight: int, dtype: torch.dtype
    ) -> torch.memory_format:
        """In which memory format to expand x and to convolve, by how many elements there are."""

    def in_format(self, x: Tensor, layout: torch.memory_format) -> Tensor:
        """x, which may be a copy, in a memory format."""

    def joint_weight(self, weights: Weights, plan: Plan) -> Tensor:
        """The weight of the convolution."""

    def forward_weights(self, weights: Weights, plan: Plan) -> ForwardWeights:
        """The weight, the bias and the border of the convolution."""

    def weight_grads(
        self, grad_weight: Tensor, grad_y: Tensor, weights: Weights, plan: Plan
    ) -> WeightGrads:
        """Gradients of the layer's weights from that of the convolution's weight."""

    def why_not(self, value: torch.dtype, stored: torch.dtype, expansion: Expansion) -> str | None:
        """Why this backend cannot expand numbers of the dtype `value` into a buffer of `stored`.

        With the remedy; None if it can.
        """


def choose_backend(
    x: Tensor, u: Tensor | None, expansion: Expansion, stored: torch.dtype
) -> Backend:
    """The backend for this input and the dtype of its expansion, noted for `backends_that_ran`.

    Raises: BackendError if an explicit choice cannot run -> reason and remedy.
    """
    value = x.dtype if u is None else torch.promote_types(x.dtype, u.dtype)
    backend = _choose(x, value, stored, expansion)
    _RAN.add(backend)
    return backend


def forget_backends() -> None:
    """Start the record of `backends_that_ran` anew."""
    _RAN.clear()


def backends_that_ran() -> str:
    """The names of all backends that computed an expansion since then, "torch" if none did."""
    names = {module: name for name, module in _MODULES.items()}
    found = {names.get(getattr(b, "__name__", ""), "torch") for b in _RAN}
    return "+".join(sorted(found)) or "torch"


def _choose(x: Tensor, value: torch.dtype, stored: torch.dtype, expansion: Expansion) -> Backend:
    name = expansion.backend
    if name == "torch":
        return plain
    compiled = _COMPILED.get(x.device.type)
    if name == "auto":
        if compiled is None or x.numel() < _WORTH_COMPILING:
            return plain
        backend, reason = _load(compiled)
        reason = reason or backend.why_not(value, stored, expansion)
        if reason is None:
            return backend
        _say_once(f"backend 'torch' in place of {compiled!r}: {reason}")
        return plain
    backend, reason = _load(name)
    reason = reason or backend.why_not(value, stored, expansion)
    if reason is None and name != compiled:
        reason = _wrong_device(name, x.device.type)
    if reason is not None:
        raise BackendError(_REFUSAL.format(name, reason))
    return backend


def takes_cupy(device: str, dtype: torch.dtype, backend: str) -> bool:
    """Whether a layer with kernels for CUDA alone takes them; otherwise torch computes.

    device is a torch.device's type.
    Raises: BackendError for backend="cupy" that cannot run -> reason and remedy.
    """
    here = _COMPILED.get(device) == "cupy"
    if backend not in ("auto", "cupy") or (backend == "auto" and not here):
        return False
    reason = cupy_launch.why_not(dtype)
    if reason is None and not here:
        reason = _wrong_device(backend, device)
    if reason is None:
        return True
    if backend == "cupy":
        raise BackendError(f"backend='cupy' cannot run: {reason} Or pass backend='auto'.")
    _say_once(f"backend 'torch' in place of 'cupy': {reason}")
    return False


# What torch.compiler.assume_constant_result does; calling it would import the compiler, which takes
# as long as torch itself.
takes_cupy._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _wrong_device(name: str, device: str) -> str:
    return (
        f"the input is on {device!r} but 'cpp' computes on CPUs and 'cupy' on CUDA devices. "
        f"Move it, for example with x.{'cpu' if name == 'cpp' else 'cuda'}()."
    )


def uses_cpp(y: Tensor, backend: str, load: Callable[[], object]) -> bool:
    """Whether C++ kernels serve a tensor, where there is a way without them; `load` compiles them.

    Raises: BackendError if backend="cpp" and they do not compile.
    """
    if y.device.type != "cpu" or y.numel() == 0 or backend not in ("auto", "cpp"):
        return False
    if backend == "auto" and y.numel() < _WORTH_COMPILING:
        return False
    try:
        prepare(load)
    except CannotCompileError as error:
        if backend == "cpp":
            raise BackendError(_REFUSAL.format(backend, error)) from error
        _say_once(f"backend 'torch' in place of 'cpp': {error}")
        return False
    return True


@functools.cache
def _load(name: str) -> tuple[Backend, str | None]:
    """The module of a compiled backend, or torch and why the module cannot be imported."""
    try:
        return importlib.import_module(_MODULES[name]), None  # type: ignore[return-value]
    except ImportError as error:
        return plain, f"{error}."
