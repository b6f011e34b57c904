"""Rotary position embedding on grids of one to three dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from conv_kan.ops.maths.checks import check_choice, check_int
from conv_kan.ops.maths.dtypes import promote
from conv_kan.ops.maths.modes import autocast_device

ROPE_MODES = ("mixed", "axial")


class RotaryEmbedding(nn.Module):
    """Rotates the channel pairs (2j, 2j + 1) of the token at position p by sum_a p_a f[a, j].

    Axis a = 0 is the last dimension of the image, and p the position on its actual grid. With
    m_i = theta^(-2 ndim i / channels), i < channels / (2 ndim):

        mixed:  f[a, d n + i] = R_ad m_i, learned, R a random rotation, n = channels / (2 ndim)
        axial:  f[a, a n + i] = m_i, all else 0, fixed

    legacy=True computes the positions of published weights, which take the first token for a class
    token: it is not rotated, and the N - 1 others lie on a grid of two dimensions of sqrt(N - 1)
    rows, whatever the image is (f has two rows).

    Shapes: tokens (B, N, channels), N = prod(size) -> the same. Parameters: frequencies (ndim,
    channels / 2), for mode="mixed".
    Numerics: rotated at least in float32, returned in the dtype of the tokens.
    Raises: ValueError for an unknown mode, channels not divisible by 2 ndim, theta <= 0.
    Source: Heo et al. (2024), "Rotary Position Embedding for Vision Transformer".
    """

    learned_shapes = ("frequencies",)  # which weight decay leaves alone
    frequencies: Tensor | None

    def __init__(
        self,
        channels: int,
        *,
        ndim: int = 2,
        mode: str = "mixed",
        theta: float = 10.0,
        legacy: bool = False,
    ) -> None:
        super().__init__()
        self.mode = check_choice("rope", mode, ROPE_MODES)
        self.channels, self.theta, self.legacy = check_int("channels", channels, 1), theta, legacy
        self.num_axes = 2 if legacy else ndim
        if not theta > 0:
            raise ValueError(f"rope_theta={theta!r} must be positive; pass for example 10.")
        if channels % (2 * self.num_axes):
            raise ValueError(
                f"rope rotates pairs of channels on {self.num_axes} axes, but {channels} channels "
                f"are not divisible by {2 * self.num_axes}; pass a multiple of it."
            )
        frequencies = torch.empty(self.num_axes, channels // 2) if mode == "mixed" else None
        self.register_parameter(
            "frequencies", None if frequencies is None else nn.Parameter(frequencies)
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the directions of the learned frequencies."""
        if self.frequencies is not None:
            with torch.no_grad():
                rotation = _random_rotation(self.num_axes).to(self.frequencies.device)
                self.frequencies.copy_(self._fixed(self.frequencies, rotation))

    def _fixed(self, like: Tensor, directions: Tensor) -> Tensor:
        """f[a, d n + i] = directions[a, d] m_i."""
        n = self.channels // (2 * self.num_axes)
        i = torch.arange(n, device=like.device, dtype=torch.float32)
        magnitudes = self.theta ** (-2.0 * self.num_axes * i / self.channels)
        return (directions.unsqueeze(2) * magnitudes).flatten(1)

    def forward(self, tokens: Tensor, size: Sequence[int]) -> Tensor:
        frequencies = self.frequencies
        if frequencies is None:
            frequencies = self._fixed(tokens, torch.eye(self.num_axes, device=tokens.device))
        wide = promote(tokens)
        positions = (_legacy_positions if self.legacy else _positions)(size, wide)
        with torch.autocast(device_type=autocast_device(tokens), enabled=False):
            angles = (positions.unsqueeze(2) * frequencies.to(wide.dtype)).sum(1)
            cosine, sine = torch.cos(angles), torch.sin(angles)
            even, odd = wide[..., 0::2], wide[..., 1::2]
            rotated = torch.stack([even * cosine - odd * sine, even * sine + odd * cosine], dim=-1)
        return rotated.flatten(-2).to(tokens.dtype)

    def extra_repr(self) -> str:
        return f"{self.channels}, mode={self.mode!r}, theta={self.theta}, legacy={self.legacy}"


def _positions(size: Sequence[int], like: Tensor) -> Tensor:
    """(N, ndim), the last dimension of the image first."""
    axes = [torch.arange(length, device=like.device, dtype=like.dtype) for length in size]
    grid = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([axis.flatten() for axis in reversed(grid)], dim=1)


def _legacy_positions(size: Sequence[int], like: Tensor) -> Tensor:
    """(N, 2): zeros, then t mod s and floor(t / s) for t = 0..N-2, s = sqrt(N - 1)."""
    num_tokens = math.prod(size)
    side = max(math.sqrt(num_tokens - 1), 1.0)
    t = torch.arange(num_tokens - 1, device=like.device, dtype=like.dtype)
    grid = torch.stack([t % side, torch.div(t, side, rounding_mode="floor")], dim=1)
    return torch.cat([grid.new_zeros(1, 2), grid])


def _random_rotation(num_axes: int) -> Tensor:
    """A rotation drawn uniformly; columns are directions."""
    if num_axes == 1:
        return torch.ones(1, 1)
    if num_axes == 2:
        angle = 2.0 * math.pi * torch.rand(())
        cosine, sine = torch.cos(angle), torch.sin(angle)
        return torch.stack([torch.stack([cosine, -sine]), torch.stack([sine, cosine])])
    q, r = torch.linalg.qr(torch.randn(num_axes, num_axes))
    return q * torch.sign(torch.diagonal(r))
