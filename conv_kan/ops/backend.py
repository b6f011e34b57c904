"""Who computes the expansion: plain torch, or kernels compiled from the formulas in cuda/.

"torch" runs anywhere; "cpp" is C++ compiled at first use, for tensors on a CPU; "cupy" is CUDA C++,
for tensors on a GPU. "auto" takes the compiled one for the device of the input where it can run,
and torch otherwise, and says once why.
"""

from __future__ import annotations

import functools
import importlib
import logging
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from conv_kan.ops import expand as torch_backend
from conv_kan.ops.expand import Expansion
from conv_kan.ops.geometry import Geometry

BACKENDS = ("auto", "torch", "cpp", "cupy")
_COMPILED = {"cpu": "cpp", "cuda": "cupy"}
_MODULES = {"cpp": "conv_kan.ops.cpp", "cupy": "conv_kan.ops.cupy_backend"}
# Elements of an input below which "auto" does not compile: a network's smallest layers gain less
# in an hour of training than their compiler takes.
_WORTH_COMPILING = 1 << 14

logger = logging.getLogger("conv_kan")


class Backend(Protocol):
    """What computes an expansion; `conv_kan.ops.expand` is the reference."""

    def expand(
        self,
        x: Tensor,
        u: Tensor | None,
        shape: Sequence[Tensor],
        expansion: Expansion,
        geometry: Geometry,
        dtype: torch.dtype,
    ) -> Tensor:
        """The expansion in a new buffer."""

    def pull_back(
        self,
        buffer: Tensor,
        x: Tensor,
        u: Tensor | None,
        shape: Sequence[Tensor],
        expansion: Expansion,
        needs: Sequence[bool],
        refill: bool,
    ) -> list[Tensor | None]:
        """Gradients of (x, u, *shape) from that of the expansion."""

    def why_not(self, x: Tensor, expansion: Expansion) -> str | None:
        """Why this backend cannot serve this input, with the remedy; None if it can."""


def choose_backend(x: Tensor, expansion: Expansion) -> Backend:
    """The backend for this input.

    Raises: RuntimeError if an explicit choice cannot run -> reason and remedy.
    """
    name = expansion.backend
    if name == "torch":
        return torch_backend
    compiled = _COMPILED.get(x.device.type)
    if name == "auto":
        if compiled is None or x.numel() < _WORTH_COMPILING:
            return torch_backend
        backend, reason = _load(compiled)
        reason = reason or backend.why_not(x, expansion)
        if reason is None:
            return backend
        _say_once(f"conv_kan: backend 'torch' in place of {compiled!r}: {reason}")
        return torch_backend
    if name != compiled:
        raise RuntimeError(
            f"backend={name!r} got an input on {x.device.type!r}; 'cpp' computes on CPUs and "
            "'cupy' on CUDA devices. Move the input, or pass backend='auto'."
        )
    backend, reason = _load(name)
    reason = reason or backend.why_not(x, expansion)
    if reason is not None:
        raise RuntimeError(f"backend={name!r} cannot run: {reason} Or pass backend='auto'.")
    return backend


def worth_compiling(y: Tensor, backend: str) -> bool:
    """Whether a tensor on a CPU asks for C++ kernels that a layer can also do without."""
    if y.device.type != "cpu":
        return False
    return backend == "cpp" or (backend == "auto" and y.numel() >= _WORTH_COMPILING)


@functools.cache
def _load(name: str) -> tuple[Backend, str | None]:
    """The module of a compiled backend, or torch and why the module cannot be imported."""
    try:
        return importlib.import_module(_MODULES[name]), None  # type: ignore[return-value]
    except ImportError as error:
        return torch_backend, f"{error}."


@functools.cache
def _say_once(message: str) -> None:
    logger.warning(message)
