"""What a basis is: K functions of one number, applied to every channel."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from conv_kan.names import SCALES
from conv_kan.ops.maths.activations import SQUASHES
from conv_kan.ops.maths.checks import check_choice
from conv_kan.ops.maths.dtypes import promote
from conv_kan.ops.maths.formula import Formula, camel_case
from conv_kan.ops.maths.quadrature import gaussian_mean


class Basis(nn.Module):
    """phi_0, ..., phi_{K-1}: every channel x_c becomes scale * phi_j(x_c).

    A subclass implements `functions`, registers its learned shape (if any) as parameters and
    returns it from `shape`, and ends its constructor with `self.set_scale(scale, ...)`. Knots and
    centres are numbers derived from the arguments, not tensors: nothing to move, cast or load. A
    layer calls `bind` once on its own copy and asks `shape_of` for the shape at every input.

    Attributes: `num_functions` K; `constants` {j: value} of the functions that do not depend on x,
    which are the leading ones, j = 0..n-1; `scale`; `second_moment` E[sum_j (scale phi_j(x))^2]
    for x ~ N(0, 1) and the initial shape, 1 unless scale="none".
    Shapes: (B, C, *S) -> (B, C*K, *S), channel-major: index c*K + j.
    Numerics: float32 for inputs in half precision (the result is rounded once, at the end);
    float64 stays float64. NaN stays NaN. At infinities, on every backend: functions that vanish
    there (splines, bumps, wavelets) are 0 with gradient 0, squashed ones have the limits of their
    squash, sines and rationals are NaN, and polynomials without a squash infinite or NaN.
    """

    squashes: tuple[str, ...] = tuple(SQUASHES)
    num_functions: int
    constants: dict[int, float]
    scale: float
    second_moment: float

    def __init__(
        self,
        num_functions: int,
        *,
        squash: str,
        constants: dict[int, float] | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__()
        self.num_functions = num_functions
        self.constants = constants or {}
        check_choice("squash", squash, self.squashes)
        self._arguments = {**arguments, "squash": squash}

    @property
    def shape(self) -> tuple[Tensor, ...]:
        """The learned shape tensors, in the order in which `functions` takes them."""
        return ()

    def shape_of(self, x: Tensor) -> tuple[Tensor, ...]:
        """What `functions` takes after x: `shape`, and what a legacy mode reads off the batch."""
        return self.shape

    def bind(self, channels: int, groups: int = 1) -> None:
        """Prepare for inputs of `channels` channels in `groups` equal groups.

        A learned shape gets as many rows as it has owners; most bases have nothing to do.
        Raises: ValueError if the shape cannot be divided among these channels.
        """

    def functions(self, x: Tensor, *shape: Tensor) -> list[Tensor]:
        """The functions that vary, phi_n, ..., phi_{K-1}, of x, unscaled and differentiable."""
        raise NotImplementedError(f"{type(self).__name__} must implement functions(x, *shape)")

    def formula(self) -> Formula | None:
        """The functor of cuda/bases.cuh that equals `functions`; None if there is torch alone."""
        return None

    def squash_macro(self) -> tuple[str, str]:
        """The macro that tells a functor its squash."""
        return "KAN_SQUASH", camel_case(self._arguments["squash"])

    def forward(self, x: Tensor) -> Tensor:
        """scale * phi_j(x_c) for all j, constants included, in the dtype of x."""
        wide = promote(x)
        values = [torch.full_like(wide, value) for _, value in sorted(self.constants.items())]
        values += self.functions(x, *self.shape_of(x))
        return (torch.stack(values, dim=2) * self.scale).flatten(1, 2).to(x.dtype)

    def set_scale(self, scale: str, *initial_shape: Tensor) -> None:
        """scale = 1 / sqrt(E[sum_j phi_j(x)^2]), x ~ N(0, 1), if "unit", else 1.

        `initial_shape` holds the initial values of `shape_of(x)` in float64 on the CPU, for one
        channel.
        """
        check_choice("scale", scale, SCALES)
        self._arguments["scale"] = scale

        def energy(x: Tensor) -> Tensor:
            values = self.functions(x.unsqueeze(1), *initial_shape)
            return torch.stack([f * f for f in values]).sum(0).squeeze(1)

        moment = gaussian_mean(energy) + sum(value**2 for value in self.constants.values())
        self.scale = 1.0 / math.sqrt(moment) if scale == "unit" else 1.0
        self.second_moment = 1.0 if scale == "unit" else moment

    def squash(self, x: Tensor, *shape: Tensor) -> Tensor:
        """z = tanh(x), sigmoid(x) or x, at least in float32."""
        function: Callable[[Tensor], Tensor] = SQUASHES[self._arguments["squash"]]
        return function(promote(x))

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self._arguments.items())
