"""What the layers with a base branch share: checks, base weights, dropout, norm, activation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from conv_kan.layers.activation import Activation
from conv_kan.layers.arguments import NamedArguments
from conv_kan.layers.inputs import check_images
from conv_kan.layers.noise import drop
from conv_kan.layers.norm import make_norm, warn_if_features_vanish
from conv_kan.layers.style import Style
from conv_kan.ops.expand_conv import expand_conv
from conv_kan.ops.maths.activations import ActivationLike, activation_function
from conv_kan.ops.maths.checks import check_choice, check_int
from conv_kan.ops.maths.expansion import Expansion
from conv_kan.ops.maths.formula import NOTHING
from conv_kan.ops.maths.geometry import Geometry
from conv_kan.ops.maths.norms import subtracts_means
from conv_kan.ops.maths.plan import Weights
from conv_kan.ops.maths.quadrature import gaussian_mean
from conv_kan.ops.norm_act import norm_act


class Layer(NamedArguments, nn.Module):
    """y = act(norm(branches(x))) over 0 (linear) to 3 (volumes) spatial dimensions.

    A subclass implements `branches`, for which there is `base_branch`.
    Shapes: x (B, c_in, *S) -> y (B, c_out, *S_out); without S, x (..., c_in) -> y (..., c_out).
    Parameters: base_weight (c_out, c_in/groups, *kernel) unless base is None; norm.*, activation.*.
    """

    base: ActivationLike | None
    base_weight: Tensor | None
    dropout_positions: ClassVar[tuple[str, ...]] = ("basis", "input", "output")

    def __init__(self, c_in: int, c_out: int, geometry: Geometry, style: Style) -> None:
        super().__init__()
        _check_channels(c_in, c_out, geometry.groups)
        self.c_in, self.c_out, self.geometry = c_in, c_out, geometry
        check_choice("dropout_position", style.dropout_position, self.dropout_positions)
        self.base, self.norm_position, self.backend = style.base, style.norm_position, style.backend
        self.dropout, self.dropout_position = float(style.dropout), style.dropout_position
        self.dropout_kind = style.dropout_kind
        shape = (c_out, c_in // geometry.groups, *geometry.kernel_size)
        weight = None if style.base is None else nn.Parameter(torch.empty(shape))
        self.register_parameter("base_weight", weight)
        channels = c_out if style.norm_position == "output" else c_in
        self.norm = make_norm(style.norm, channels, geometry.ndim, style.affine)
        act = style.activation
        self.activation = None if act is None else Activation(act, geometry.groups)
        if act is None and style.norm_position == "output":
            warn_if_features_vanish(self.norm, stacklevel=4)

    def branches(self, x: Tensor, centered: bool = False) -> Tensor:
        """What the norm and the activation act on: (B, c_out, *S_out) of (B, c_in, *S).

        `centered`: what follows subtracts the mean of every output (see ops.maths.plan.Plan).
        """
        raise NotImplementedError(f"{type(self).__name__} must implement branches(x)")

    def absorb(self, factor: Tensor, shift: Tensor) -> bool:
        """Change the weights such that branches(x) is factor * branches(x) + shift.

        Returns whether this kind of layer can; if not, nothing has changed.
        Shapes: factor, shift (c_out,).
        """
        return False

    def forward(self, x: Tensor, *, centered: bool = False) -> Tensor:
        """y of x; `centered` if what follows subtracts the mean of every output, as a norm does."""
        self._check_input(x)
        flat = x if self.geometry.ndim or x.dim() == 2 else x.reshape(-1, self.c_in)
        norm = self.norm if self.norm_position == "output" else None
        if norm is not None:
            centered = subtracts_means(norm)
        elif self.activation is not None or self.dropout_position == "output":
            centered = False
        y = self.branches(self._drop(flat, "input"), centered)
        if self.activation is None:
            y = norm_act(y, norm, None, backend=self.backend)
        else:
            act = self.activation
            y = norm_act(y, norm, act.function, act.params, act.name, self.backend)
        y = self._drop(y, "output")
        return y if flat is x else y.reshape(*x.shape[:-1], self.c_out)

    @property
    def base_function(self) -> Callable[[Tensor], Tensor] | None:
        return None if self.base is None else activation_function(self.base)

    @property
    def base_name(self) -> str | None:
        """By which compiled kernels know the base function; None for one of one's own."""
        return self.base if isinstance(self.base, str) else None

    def base_branch(self, x: Tensor) -> Tensor | None:
        """W_base * base(x), which keeps x alone for backward; None without a base branch."""
        if self.base_weight is None:
            return None
        weight = self.base_weight.unsqueeze(2)[:, :, :0]
        expansion = Expansion(
            _no_functions, 0, (), 1.0, self.base_function, self.base_name, NOTHING, self.backend
        )
        weights = Weights(weight, self.base_weight)
        return expand_conv(x, weights, expansion=expansion, geometry=self.geometry)

    def base_edges(self, grid: Tensor) -> Tensor | None:
        """W_base[o, c, *k] base(t), the base branch's share of every edge; None without one.

        Shapes: grid (N,) -> (c_out, c_in/groups, *kernel, N).
        """
        if self.base_weight is None or self.base_function is None:
            return None
        return self.base_weight.unsqueeze(-1) * self.base_function(grid)

    def reset_parameters(self) -> None:
        """Draw the weights anew; what is here resets the norm and the activation."""
        for module in (self.norm, self.activation):
            reset = getattr(module, "reset_parameters", None)
            if reset is not None:
                reset()

    def reset_base(self) -> float:
        """Draw W_base such that the base branch has Var = 1/2 for x ~ N(0, 1).

        Returns the variance that is left for the other branch: 1/2, or 1 without a base branch.
        """
        base = self.base_function
        if self.base_weight is None or base is None:
            return 1.0
        energy = gaussian_mean(lambda x: base(x) ** 2)
        nn.init.normal_(
            self.base_weight, std=math.sqrt(0.5 / (self.base_weight[0].numel() * energy))
        )
        return 0.5

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Layer:
        # Module.to(memory_format=channels_last) asks that format of every tensor with 4 or 5
        # dimensions and fails on weights, which have another number of them than images.
        def flat(tensor: Tensor) -> Tensor:
            return fn(tensor.flatten(2)).view(tensor.shape) if tensor.dim() > 3 else fn(tensor)

        return super()._apply(flat, recurse)

    def penalized_weights(self) -> list[Tensor]:
        """The weights that an L1 penalty acts on; those of inner layers are their own."""
        return [] if self.base_weight is None else [self.base_weight]

    def _drop(self, x: Tensor, position: str) -> Tensor:
        """Drop from x, if this is the position of the dropout."""
        if not self.training or self.dropout == 0.0 or position != self.dropout_position:
            return x
        return drop(x, self.dropout, self.dropout_kind)

    def _check_input(self, x: Tensor) -> None:
        weight = next(self.parameters(), None)
        check_images(type(self).__name__, x, self.c_in, self.geometry, weight)

    def extra_repr(self) -> str:
        g = self.geometry
        parts = [f"{self.c_in}, {self.c_out}"]
        if g.ndim:
            parts.append(f"kernel_size={g.kernel_size}, stride={g.stride}, padding={g.padding}")
            parts.append(f"dilation={g.dilation}, groups={g.groups}")
        parts.append(f"base={self.base!r}, norm_position={self.norm_position!r}")
        if self.dropout:
            parts.append(f"dropout={self.dropout}, dropout_position={self.dropout_position!r}")
            parts.append(f"dropout_kind={self.dropout_kind!r}")
        parts.append(f"backend={self.backend!r}")
        return ", ".join(parts)


def scale_outputs_(
    weights: tuple[Tensor, Tensor | None], bias: Tensor | None, factor: Tensor, shift: Tensor
) -> nn.Parameter:
    """weight[o] *= factor[o], rounded once; returns the new bias, factor * bias + shift."""
    for weight in weights:
        if weight is not None:
            weight.copy_(weight * factor.view(-1, *[1] * (weight.dim() - 1)))
    if bias is not None:
        shift = shift + factor * bias
    return nn.Parameter(shift.to(weights[0].dtype), requires_grad=False)


def mix_groups(weight: Tensor, edges: Tensor, groups: int) -> Tensor:
    """sum_p weight[o, p] edges[p, ...] within every group.

    Shapes: weight (O, P/groups), edges (P, ...) -> (O, ...).
    """
    blocks = weight.unflatten(0, (groups, -1))
    mixed = torch.einsum("gop,gp...->go...", blocks, edges.unflatten(0, (groups, -1)))
    return mixed.flatten(0, 1)


def _no_functions(u: Tensor, *shape: Tensor) -> list[Tensor]:
    return []


def _check_channels(c_in: int, c_out: int, groups: int) -> None:
    for label, channels in (("c_in", c_in), ("c_out", c_out)):
        check_int(label, channels, 1)
        if channels % groups:
            raise ValueError(
                f"{label}={channels} is not divisible by groups={groups}; "
                f"pass a multiple of {groups} or groups={math.gcd(c_in, c_out)}."
            )
