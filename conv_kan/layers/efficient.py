"""A spline layer whose grids follow the data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from conv_kan.layers.arguments import NamedArguments
from conv_kan.layers.inputs import check_grid, check_input
from conv_kan.layers.linear import check_sizes
from conv_kan.names import BACKENDS
from conv_kan.ops.expand_conv import expand_conv
from conv_kan.ops.maths.activations import ACTIVATIONS
from conv_kan.ops.maths.checks import check_choice, check_int, check_range
from conv_kan.ops.maths.dtypes import promote
from conv_kan.ops.maths.expansion import Expansion
from conv_kan.ops.maths.formula import Formula
from conv_kan.ops.maths.geometry import Geometry
from conv_kan.ops.maths.knots import splines
from conv_kan.ops.maths.plan import Weights

_RIDGE = 1e-10


class EfficientKANLinear(NamedArguments, nn.Module):
    """y_o = sum_c W_base[o, c] base(x_c) + sum_{c,j} s_oc W_spline[o, c, j] B_cj(x_c).

    B_cj are B-splines of order p on the knots grid_c0 <= ... <= grid_c,G+2p of channel c, uniform
    over grid_range at first. s (spline_scaler) is 1 unless standalone_scale.

    Shapes: x (..., in_features) -> y (..., out_features). Parameters: base_weight and spline_scaler
    (out, in), spline_weight (out, in, G + p); buffer grid (in, G + 2p + 1).
    Numerics: splines at least in float32; training keeps x alone, and computes splines and
    s W_spline again. backend as KANConv.
    Raises: ValueError or TypeError for sizes < 1, spline_order < 0, a grid_range that does not
    increase, a grid_eps outside [0, 1], an unknown base or backend, an input of another number of
    features or dtype.
    Source: efficient-kan, KANLinear.
    """

    grid: Tensor
    spline_scaler: Tensor | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        grid_size: int = 5,
        spline_order: int = 3,
        grid_range: Sequence[float] = (-1.0, 1.0),
        base: str = "silu",
        standalone_scale: bool = True,
        noise_scale: float = 0.1,
        base_scale: float = 1.0,
        spline_scale: float = 1.0,
        grid_eps: float = 0.02,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        self.in_features = check_int("in_features", in_features, 1)
        self.out_features = check_int("out_features", out_features, 1)
        self.grid_size = check_int("grid_size", grid_size, 1)
        self.order = check_int("spline_order", spline_order, 0)
        self.base = check_choice("base", base, ACTIVATIONS)
        self.backend = check_choice("backend", backend, BACKENDS)
        self.grid_range = check_range("grid_range", grid_range)
        self.noise_scale, self.base_scale = noise_scale, base_scale
        self.spline_scale, self.grid_eps = spline_scale, grid_eps
        if not 0.0 <= grid_eps <= 1.0:
            raise ValueError(f"grid_eps={grid_eps!r} must lie in [0, 1]; pass for example 0.02.")
        edges, num_functions = (out_features, in_features), grid_size + spline_order
        self.base_weight = nn.Parameter(torch.empty(edges))
        self.spline_weight = nn.Parameter(torch.empty(*edges, num_functions))
        scaler = nn.Parameter(torch.empty(edges)) if standalone_scale else None
        self.register_parameter("spline_scaler", scaler)
        self.register_buffer("grid", torch.empty(in_features, grid_size + 2 * spline_order + 1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """A uniform grid; splines through noise of size noise_scale / G at the knots inside."""
        (low, high), size, order = self.grid_range, self.grid_size, self.order
        step = (high - low) / size
        nn.init.kaiming_uniform_(self.base_weight, a=math.sqrt(5) * self.base_scale)
        with torch.no_grad():
            knots = torch.arange(-order, size + order + 1, device=self.grid.device)
            self.grid.copy_((knots * step + low).expand_as(self.grid))
            inside = self.grid[:, order : order + size + 1]
            noise = torch.rand(*inside.shape, self.out_features, device=inside.device) - 0.5
            fitted = self._fit(inside.t(), noise * (self.noise_scale / size), self.grid)
            scale = self.spline_scale if self.spline_scaler is None else 1.0
            self.spline_weight.copy_(scale * fitted)
        if self.spline_scaler is not None:
            nn.init.kaiming_uniform_(self.spline_scaler, a=math.sqrt(5) * self.spline_scale)

    @property
    def scaled_weight(self) -> Tensor:
        """s_oc W_spline[o, c, j]."""
        if self.spline_scaler is None:
            return self.spline_weight
        return self.spline_weight * self.spline_scaler.unsqueeze(-1)

    @property
    def expansion(self) -> Expansion:
        """What one feature becomes before the product with the weights."""
        counts = ("KAN_NUM_KNOTS", str(self.grid.shape[1])), ("KAN_KNOT_ORDER", str(self.order))
        # The kernels have no gradient of the knots.
        formula = None if self.grid.requires_grad else Formula("KnotSplines", counts)
        return Expansion(
            self._functions,
            self.grid_size + self.order,
            (),
            1.0,
            ACTIVATIONS[self.base],
            self.base,
            formula,
            self.backend,
        )

    def forward(self, x: Tensor) -> Tensor:
        check_input("EfficientKANLinear", x, self.in_features, 0)
        y = expand_conv(
            x.reshape(-1, self.in_features),
            Weights(self.spline_weight, self.base_weight, None, self.spline_scaler),
            expansion=self.expansion,
            geometry=Geometry(),
            shape=(self.grid,),
        )
        return y.reshape(*x.shape[:-1], self.out_features)

    def _functions(self, x: Tensor, *shape: Tensor) -> list[Tensor]:
        return list(splines(x, shape[0], self.order).unbind(-1))

    @torch.no_grad()
    def update_grid(self, x: Tensor, margin: float = 0.01) -> None:
        """Move the knots to where the data are and refit the splines: the function stays.

        grid = grid_eps * uniform + (1 - grid_eps) * quantiles of x per feature, uniform from min -
        margin to max + margin. The new coefficients are a least-squares fit of the old splines,
        without their scale s, at the data and at points spread over the new grid.

        Shapes: x (..., in_features).
        Raises: ValueError for an empty batch, another number of features and for inputs that are
        not finite; TypeError for integers.
        Source: efficient-kan, which fits the scaled splines and then scales them again.
        """
        check_input("EfficientKANLinear.update_grid", x, self.in_features, 0)
        samples = promote(x).reshape(-1, self.in_features).sort(dim=0).values
        count, size = len(samples), self.grid_size
        if count == 0:
            raise ValueError("update_grid got an empty batch; pass the inputs of the layer.")
        if not samples.isfinite().all():
            raise ValueError("update_grid got NaN or infinite inputs; pass finite ones.")
        chosen = torch.linspace(0, count - 1, size + 1, device=x.device).long()
        low, high = samples[0] - margin, samples[-1] + margin
        step = (high - low) / size
        uniform = low + torch.arange(size + 1, device=x.device).unsqueeze(1) * step
        inside = self.grid_eps * uniform + (1.0 - self.grid_eps) * samples[chosen]
        ends = step * torch.arange(1, self.order + 1, device=x.device).unsqueeze(1)
        grid = torch.cat([inside[:1] - ends.flip(0), inside, inside[-1:] + ends]).t()
        grid = grid.to(self.grid.dtype).contiguous()
        spread = torch.linspace(0.0, 1.0, 8 * (size + self.order), device=x.device).unsqueeze(1)
        points = torch.cat([samples, inside[0] + spread * (inside[-1] - inside[0])])
        old = splines(points.double(), self.grid.double(), self.order)
        values = torch.einsum("ncj,ocj->cno", old, self.spline_weight.double())
        self.spline_weight.copy_(self._fit(points, values, grid))
        self.grid.copy_(grid)

    def _fit(self, points: Tensor, values: Tensor, grid: Tensor) -> Tensor:
        """Coefficients (out, in, G + p) of the splines nearest to `values` (in, N, out) at `points`
        (N, in); a tiny ridge serves functions that no point sees."""
        matrix = splines(points.double(), grid.double(), self.order).transpose(0, 1)
        normal = matrix.transpose(1, 2) @ matrix
        normal.diagonal(dim1=1, dim2=2).add_(_RIDGE)
        solution = torch.linalg.solve(normal, matrix.transpose(1, 2) @ values.double())
        return solution.permute(2, 0, 1).to(self.spline_weight.dtype)

    def regularization_loss(self, activation: float = 1.0, entropy: float = 1.0) -> Tensor:
        """activation * A - entropy * sum p log p, m = mean_j |W_spline|, A = sum m, p = m / A.

        Finite also where weights are 0: p log p is 0 there, and so is its gradient.
        """
        mean = promote(self.spline_weight).abs().mean(-1)
        total = mean.sum()
        p = mean / total.clamp(min=torch.finfo(mean.dtype).tiny)
        entropies = torch.where(p > 0, p * torch.where(p > 0, p, 1.0).log(), 0.0)
        return activation * total - entropy * entropies.sum()

    def penalized_weights(self) -> list[Tensor]:
        """The weights that an L1 penalty acts on."""
        return [self.base_weight, self.scaled_weight]

    def edge_functions(self, grid: Tensor) -> Tensor:
        """f[o, c](t) = s_oc sum_j W_spline[o, c, j] B_cj(t) + W_base[o, c] base(t).

        Shapes: grid (N,) -> (out_features, in_features, N).
        Raises: as KANConv.edge_functions.
        """
        check_grid("EfficientKANLinear", grid, self.base_weight)
        values = splines(grid.unsqueeze(1).expand(-1, self.in_features), self.grid, self.order)
        edges = torch.einsum("ocj,ncj->ocn", self.scaled_weight, values)
        return edges + self.base_weight.unsqueeze(-1) * ACTIVATIONS[self.base](grid)

    def extra_repr(self) -> str:
        return (
            f"{self.in_features}, {self.out_features}, grid_size={self.grid_size}, "
            f"spline_order={self.order}, base={self.base!r}, "
            f"standalone_scale={self.spline_scaler is not None}, backend={self.backend!r}"
        )


class EfficientKAN(nn.Module):
    """A stack of EfficientKANLinear: sizes[0] -> sizes[1] -> ... -> sizes[-1].

    `layer` arguments go to every layer. forward(x, update_grid=True) first moves every layer's grid
    to its input.
    Shapes: x (..., sizes[0]) -> y (..., sizes[-1]). Parameters: layers.{i}.*.
    Raises: ValueError for fewer than two sizes; as EfficientKANLinear.
    Source: efficient-kan, KAN.
    """

    def __init__(self, sizes: Sequence[int], **layer: Any) -> None:
        super().__init__()
        check_sizes(sizes)
        self.layers = nn.ModuleList(EfficientKANLinear(a, b, **layer) for a, b in pairwise(sizes))

    def forward(self, x: Tensor, update_grid: bool = False) -> Tensor:
        for layer in self.layers:
            assert isinstance(layer, EfficientKANLinear)
            if update_grid:
                layer.update_grid(x)
            x = layer(x)
        return x

    def regularization_loss(self, activation: float = 1.0, entropy: float = 1.0) -> Tensor:
        """The sum of the layers'."""
        losses = [
            layer.regularization_loss(activation, entropy)
            for layer in self.layers
            if isinstance(layer, EfficientKANLinear)
        ]
        return torch.stack(losses).sum()
