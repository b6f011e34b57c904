"""Squared products of two ReLUs, with learned supports."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from conv_kan.bases.base import Basis
from conv_kan.ops.maths.bounds import bounded
from conv_kan.ops.maths.channels import per_channel
from conv_kan.ops.maths.checks import check_int
from conv_kan.ops.maths.formula import Formula, literal


class ReLU(Basis):
    """phi_j(x) = (r relu(x - low_cj) relu(high_cj - x))^2, r = 4 g^2 / (k + 1)^2, j = 0..g+k-1.

    Bumps on [low, high] that reach 1 at first, when low_cj = (j - k) / g and high_cj = low_cj +
    (k + 1) / g. The ends are learned, a pair for every function and channel c of a group (groups of
    channels share them), unless train_phases is false. K = g + k.

    Shapes: (B, C, *S) -> (B, C*(g + k), *S); low, high (channels, g + k), with one row for all
    channels until `bind`.
    Raises: ValueError for g < 1, k < 0, an unknown squash or scale; TypeError if g or k is not an
    integer.
    Source: ReLUKAN (Qiu et al., 2024); torch-conv-kan, whose phases share memory among
    channels and therefore cannot be trained.
    """

    low: nn.Parameter
    high: nn.Parameter

    def __init__(
        self,
        g: int = 5,
        k: int = 3,
        train_phases: bool = True,
        *,
        squash: str = "none",
        scale: str = "unit",
    ) -> None:
        check_int("g", g, 1)
        check_int("k", k, 0)
        super().__init__(g + k, squash=squash, g=g, k=k, train_phases=train_phases)
        self.g, self.k = g, k
        self.factor = 4.0 * g * g / (k + 1) ** 2
        for name in ("low", "high"):
            phases = torch.empty(1, self.num_functions)
            self.register_parameter(name, nn.Parameter(phases, requires_grad=train_phases))
        self.reset_parameters()
        low = ((torch.arange(g + k, dtype=torch.float64, device="cpu") - k) / g).unsqueeze(0)
        self.set_scale(scale, low, low + (k + 1) / g)

    def reset_parameters(self) -> None:
        """low_cj = (j - k) / g, high_cj = (j + 1) / g."""
        with torch.no_grad():
            j = torch.arange(self.num_functions, device=self.low.device)
            self.low.copy_((j - self.k) / self.g)
            self.high.copy_((j + 1) / self.g)

    def bind(self, channels: int, groups: int = 1) -> None:
        """Give every channel of a group its own row of phases."""
        rows, own = self.low.shape[0], channels // groups
        if rows not in (1, own):
            raise ValueError(
                f"a ReLU basis with phases for {rows} channels cannot serve {own} channels in "
                "each group; pass a new one, for example create_basis('relu')."
            )
        if rows < own:
            for name, phases in list(self.named_parameters()):
                wide = phases.detach().repeat(own, 1)
                self.register_parameter(name, nn.Parameter(wide, phases.requires_grad))

    @property
    def shape(self) -> tuple[Tensor, ...]:
        return self.low, self.high

    def functions(self, x: Tensor, *shape: Tensor) -> list[Tensor]:
        z = bounded(self.squash(x))
        lows, highs = (per_channel(phases, z) for phases in shape)
        return [
            (F.relu(z - low) * F.relu(high - z) * self.factor).square()
            for low, high in zip(lows, highs, strict=True)
        ]

    def formula(self) -> Formula:
        count, factor = ("KAN_NUM_BUMPS", str(self.num_functions)), literal(self.factor)
        return Formula("ReLU", (count, ("KAN_FACTOR", factor), self.squash_macro()))
