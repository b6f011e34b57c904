"""What one channel becomes before a convolution: the functions of a basis and a base function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from conv_kan.ops.maths.dtypes import promote
from conv_kan.ops.maths.formula import Formula


@dataclass(frozen=True)
class Expansion:
    """What one channel becomes.

    `functions(u, *shape)` returns the K - n functions that vary; `constants` holds the values of
    the n leading functions that do not; `scale` multiplies all K of them (never the base).
    `formula` and `base_name` say the same to compiled kernels; without a formula there is only
    torch. `backend` is one of conv_kan.ops.backend.BACKENDS.
    """

    functions: Callable[..., list[Tensor]]
    num_functions: int
    constants: tuple[float, ...]
    scale: float
    base: Callable[[Tensor], Tensor] | None
    base_name: str | None = None
    formula: Formula | None = None
    backend: str = "torch"

    @property
    def num_maps(self) -> int:
        """M: maps per channel in the buffer."""
        return self.num_functions - len(self.constants) + (self.base is not None)

    def maps(self, x: Tensor, u: Tensor | None, shape: Sequence[Tensor]) -> list[Tensor]:
        """[base(x), phi_n(u), ...], computed at least in float32."""
        base = [] if self.base is None else [self.base(promote(x))]
        return base + self.functions(x if u is None else u, *shape)
