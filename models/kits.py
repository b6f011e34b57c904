"""Kits: the layers a network is made of, so that a network names no basis.

`KANKit` makes the layers of a kind (see models.kinds), `ConvKit` those of the plain twin. Their
options are tables: the bases' own come from `conv_kan.bases.basis_options`, so a new basis brings
its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from torch import nn

from conv_kan.bases import BASES
from conv_kan.bases.base import SCALES
from conv_kan.layers import SelfAttention
from conv_kan.layers.norm import NORMS, make_norm
from conv_kan.ops.backend import BACKENDS
from conv_kan.ops.maths.activations import ACTIVATIONS
from conv_kan.ops.maths.wavelets import WAVELETS
from models.kinds import EXPERT_OPTIONS, KINDS, Kind
from models.options import Option

# How to check the arguments of bases; their defaults are the family's.
_BASIS_ARGUMENTS: dict[str, dict[str, Any]] = {
    "degree": {"type": int, "minimum": 1, "help": "degree of the polynomials", "of_basis": True},
    "grid_size": {"type": int, "minimum": 1, "help": "intervals of the grid (bspline) or number of "
                  "centres (rbf)", "of_basis": True},
    "spline_order": {"type": int, "minimum": 0, "help": "order of the splines", "of_basis": True},
    "grid_range": {"type": tuple[float, float], "help": "where the grid begins and ends",
                   "of_basis": True},
    "outer": {"type": str, "choices": tuple(ACTIVATIONS), "help": "activation applied to every "
              "polynomial", "of_basis": True},
    "a": {"type": float, "help": "the weight of the polynomials is (1-z)^a (1+z)^b, a > -1",
          "of_basis": True},
    "b": {"type": float, "help": "see a", "of_basis": True},
    "g": {"type": int, "minimum": 1, "help": "intervals of [0, 1]", "of_basis": True},
    "k": {"type": int, "minimum": 0, "help": "a function spans k + 1 intervals", "of_basis": True},
    "train_phases": {"type": bool, "help": "learn where the functions begin and end",
                     "of_basis": True},
    "wavelet": {"type": str, "choices": tuple(WAVELETS), "help": "function of every edge, "
                "scaled and shifted by it", "of_basis": True},
    "squash": {"type": str, "help": "applied to x before the basis"},
    "scale": {"type": str, "choices": SCALES, "help": "unit: E[sum phi^2] = 1 for x ~ N(0, 1); "
              "none: as published"},
}  # fmt: skip

# Option -> argument of MixtureOfExperts.
_GATING = {"num_experts": "num_experts", "active_experts": "k", "noisy_gating": "noisy"}


class Kit(Protocol):
    """What a network asks of its layers."""

    @property
    def norm(self) -> str:
        """The name of the norm of its convolutions, or "none"."""
        ...

    @property
    def ends_in_norm(self) -> bool:
        """Whether nothing follows the norm of a convolution."""
        ...

    def first_conv(self, c_in: int, c_out: int) -> nn.Module:
        """The first 3x3 layer of a network: no dropout, no groups, no experts, as published."""
        ...

    def conv(
        self, c_in: int, c_out: int, *, stride: int = 1, groups: int = 1, dropout: float = 0.0
    ) -> nn.Module:
        """A 3x3 layer with padding 1: (B, c_in, H, W) -> (B, c_out, H/stride, W/stride)."""
        ...

    def attention(self, channels: int, *, inner: int | None, groups: int) -> nn.Module:
        """Self-attention over the positions of (B, channels, H, W)."""
        ...


@dataclass(frozen=True)
class KANKit:
    """Layers of one kind. `conv_arguments` act on convolutions alone, `arguments` on heads too.

    `gating` holds the arguments of the mixtures of a kind with experts.
    """

    kind: Kind
    norm: str
    affine: bool
    conv_arguments: Mapping[str, Any]
    arguments: Mapping[str, Any]
    gating: Mapping[str, Any]

    @property
    def ends_in_norm(self) -> bool:
        return self.conv_arguments["activation"] is None and not self.kind.norm_first

    def first_conv(self, c_in: int, c_out: int) -> nn.Module:
        return self.kind.conv(c_in, c_out, 3, **self._options(1, 1, 0.0))

    def conv(
        self, c_in: int, c_out: int, *, stride: int = 1, groups: int = 1, dropout: float = 0.0
    ) -> nn.Module:
        options = self._options(stride, groups, dropout)
        if self.kind.experts is None:
            return self.kind.conv(c_in, c_out, 3, **options)
        return self.kind.experts(c_in, c_out, 3, gating=self.gating, **options)

    def _options(self, stride: int, groups: int, dropout: float) -> dict[str, Any]:
        shape = {"stride": stride, "padding": 1, "groups": groups, "dropout": dropout}
        norm = {"norm": _or_none(self.norm), "affine": self.affine}
        return {**shape, **norm, **self.conv_arguments, **self.arguments}

    def attention(self, channels: int, *, inner: int | None, groups: int) -> nn.Module:
        def layer(c_in: int, c_out: int) -> nn.Module:
            return self.kind.conv(c_in, c_out, 3, **self._options(1, groups, 0.0))

        return _attention(self, layer, channels, inner)

    def mlp(self, sizes: Sequence[int], **arguments: Any) -> nn.Module:
        """The fully connected network of the kind; arguments override those of the basis."""
        return self.kind.mlp(sizes, **{**self.arguments, **arguments})


@dataclass(frozen=True)
class ConvKit:
    """Layers of the plain twin: convolution with bias, norm, ReLU, after a dropout of channels."""

    norm: str
    affine: bool
    ends_in_norm = False

    def conv(
        self, c_in: int, c_out: int, *, stride: int = 1, groups: int = 1, dropout: float = 0.0
    ) -> nn.Module:
        norm = make_norm(_or_none(self.norm), c_out, 2, self.affine)
        layers = {
            "dropout": nn.Dropout2d(dropout) if dropout else None,
            "conv": nn.Conv2d(c_in, c_out, 3, stride=stride, padding=1, groups=groups),
            "norm": norm,
            "activation": nn.ReLU(),
        }
        block = nn.Sequential()
        for name, layer in layers.items():
            if layer is not None:
                block.add_module(name, layer)
        return block

    def first_conv(self, c_in: int, c_out: int) -> nn.Module:
        return self.conv(c_in, c_out)

    def attention(self, channels: int, *, inner: int | None, groups: int) -> nn.Module:
        return _attention(self, partial(self.conv, groups=groups), channels, inner)


def kit_options(name: str | None) -> tuple[Option, ...]:
    """The options of the layers of a kind, or of plain layers if name is None."""
    kind = None if name is None else KINDS[name]
    norm = "batch" if kind is None else kind.norm or "none"
    options = [
        Option("norm", str, norm, "norm of the convolutions", choices=(*NORMS, "none")),
        Option("affine", bool, True, "whether norms learn a scale and a shift"),
    ]
    if kind is None:
        return tuple(options)
    options += [*_activation_options(kind), *kind.own]
    options += EXPERT_OPTIONS if kind.experts is not None else ()
    for argument, default in kind.basis_defaults.items():
        row = dict(_BASIS_ARGUMENTS[argument])
        if argument == "squash":
            row["choices"] = BASES[kind.basis].squashes
        options.append(Option(name=argument, default=default, **row))
    text = "who computes the functions; auto: compiled kernels where they run, else torch"
    return (*options, Option("backend", str, "auto", text, choices=BACKENDS))


def create_kit(name: str | None, options: Mapping[str, Any]) -> KANKit | ConvKit:
    """Make the kit of a kind (None: plain) from values for all of `kit_options(name)`."""
    if name is None:
        return ConvKit(options["norm"], options["affine"])
    kind = KINDS[name]
    own = {option.name: options[option.name] for option in kind.own}
    ends = {key: _or_none(options[key]) for key in ("base", "activation")}
    gating = {key: options[option] for option, key in _GATING.items() if option in options}
    return KANKit(
        kind=kind,
        norm=options["norm"],
        affine=options["affine"],
        conv_arguments={**ends, **own},
        arguments={key: options[key] for key in (*kind.basis_defaults, "backend")},
        gating=gating,
    )


def _activation_options(kind: Kind) -> list[Option]:
    names = (*ACTIVATIONS, "none")
    text = "of the convolutions' base branch; none: no such branch"
    return [
        Option("base", str, kind.base or "none", f"activation {text}", choices=names),
        Option("activation", str, kind.activation or "none", "what ends a convolution",
               choices=(*names, "prelu")),
    ]  # fmt: skip


def _attention(
    kit: KANKit | ConvKit, layer: Callable[..., nn.Module], channels: int, inner: int | None
) -> SelfAttention:
    norm = _or_none(kit.norm)
    return SelfAttention(channels, layer=layer, inner=inner, norm=norm, affine=kit.affine)


def _or_none(name: str) -> str | None:
    return None if name == "none" else name
