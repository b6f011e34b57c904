"""What compiled kernels need to know of a basis: a functor of cuda/bases.cuh and its constants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from conv_kan.ops.maths.dtypes import working_dtype


@dataclass(frozen=True)
class Formula:
    """A functor of cuda/bases.cuh: its name, and the macros that hold its constants.

    `neighbours`: the rows of a learned shape belong to groups of neighbouring channels, so that
    channel c of C reads row c // (C / rows); otherwise groups of channels share the rows, and it
    reads row c % rows.
    """

    name: str
    macros: tuple[tuple[str, str], ...] = ()
    neighbours: bool = False


NOTHING = Formula("Nothing")  # a base branch alone


def camel_case(name: str) -> str:
    """The struct of cuda/activations.cuh for an activation ("leaky_relu") or a squash ("none")."""
    if name == "none":
        return "Identity"
    return "".join(part.capitalize() for part in name.split("_"))


def literal(value: float) -> str:
    """A literal of C++ that is exactly this double."""
    return f"({float(value)!r})"


def pack_shape(shape: Sequence[Tensor], formula: Formula, x: Tensor) -> Tensor | None:
    """The learned shape as kernels read it: (rows, S), channel c reading row c % rows.

    Every tensor of `shape` is (s,), shared by all channels, or (rows, s); a row holds theirs one
    after the other. In the arithmetic dtype of x, contiguous; None without a learned shape.
    """
    if not shape:
        return None
    rows = max(t.shape[0] if t.dim() == 2 else 1 for t in shape)
    if formula.neighbours and rows > 1:
        channels = x.shape[1]
        shape = [t.repeat_interleave(channels // rows, 0) if t.dim() == 2 else t for t in shape]
        rows = channels
    wide = [t.to(working_dtype(x)).expand(rows, t.shape[-1]) for t in shape]
    return torch.cat(wide, dim=1).contiguous()


def unpack_grad(grad: Tensor, shape: Sequence[Tensor], formula: Formula, x: Tensor) -> list[Tensor]:
    """The gradients of the tensors of `shape` from that of their packed form."""
    with torch.enable_grad():
        leaves = [t.detach().requires_grad_() for t in shape]
        packed = pack_shape(leaves, formula, x)
    assert packed is not None
    return [found.contiguous() for found in torch.autograd.grad(packed, leaves, grad)]
