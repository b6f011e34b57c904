"""Kits: the layers a network is made of, so that a network names no basis.

`KANKit` makes the layers of a KAN family, `ConvKit` those of the plain twin. Their options are
tables: the bases' own come from `conv_kan.bases.basis_options`, so a new basis brings its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import nn

from conv_kan.bases import basis_options
from conv_kan.bases.base import SCALES
from conv_kan.families import Family, get_family
from conv_kan.layers import SelfAttention
from conv_kan.layers.norm import NORMS, make_norm
from conv_kan.ops.activations import ACTIVATIONS, SQUASHES
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
    "squash": {"type": str, "choices": tuple(SQUASHES), "help": "applied to x before the basis"},
    "scale": {"type": str, "choices": SCALES, "help": "unit: E[sum phi^2] = 1 for x ~ N(0, 1); "
              "none: as published"},
}  # fmt: skip


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
    """Layers of a KAN family. `conv_arguments` act on convolutions alone, `basis` on heads too."""

    family: Family
    norm: str
    affine: bool
    conv_arguments: Mapping[str, Any]
    basis: Mapping[str, Any]

    @property
    def ends_in_norm(self) -> bool:
        return self.conv_arguments["activation"] is None and self.family.norm_position == "output"

    def conv(
        self, c_in: int, c_out: int, *, stride: int = 1, groups: int = 1, dropout: float = 0.0
    ) -> nn.Module:
        return self.family.conv(
            c_in,
            c_out,
            3,
            stride=stride,
            padding=1,
            groups=groups,
            dropout=dropout,
            norm=_or_none(self.norm),
            affine=self.affine,
            **self.conv_arguments,
            **self.basis,
        )

    def attention(self, channels: int, *, inner: int | None, groups: int) -> nn.Module:
        return _attention(self, self.affine, channels, inner, groups)

    def mlp(self, sizes: Sequence[int], **basis: Any) -> nn.Module:
        """The family's fully connected network; basis overrides arguments of the basis."""
        return self.family.mlp(sizes, **{**self.basis, **basis})


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

    def attention(self, channels: int, *, inner: int | None, groups: int) -> nn.Module:
        return _attention(self, self.affine, channels, inner, groups)


def kit_options(family: str | None) -> tuple[Option, ...]:
    """The options of a family's layers, or of plain layers if family is None."""
    norm = "batch" if family is None else get_family(family).norm or "none"
    options = [
        Option("norm", str, norm, "norm of the convolutions", choices=(*NORMS, "none")),
        Option("affine", bool, True, "whether norms learn a scale and a shift"),
    ]
    if family is not None:
        options += _activation_options(get_family(family))
        options += [
            Option(name=name, default=default, **_BASIS_ARGUMENTS[name])
            for name, default in _basis_defaults(get_family(family)).items()
        ]
    return tuple(options)


def create_kit(family: str | None, options: Mapping[str, Any]) -> KANKit | ConvKit:
    """Make the kit of a family (None: plain) from values for all of `kit_options(family)`."""
    if family is None:
        return ConvKit(options["norm"], options["affine"])
    row = get_family(family)
    return KANKit(
        family=row,
        norm=options["norm"],
        affine=options["affine"],
        conv_arguments={key: _or_none(options[key]) for key in ("base", "activation")},
        basis={key: options[key] for key in _basis_defaults(row)},
    )


def _basis_defaults(family: Family) -> dict[str, Any]:
    return {**basis_options(family.basis), **family.basis_options}


def _activation_options(family: Family) -> list[Option]:
    names = (*ACTIVATIONS, "none")
    text = "of the convolutions' base branch; none: no such branch"
    return [
        Option("base", str, family.base or "none", f"activation {text}", choices=names),
        Option("activation", str, family.activation or "none", "what ends a convolution",
               choices=(*names, "prelu")),
    ]  # fmt: skip


def _attention(
    kit: Kit, affine: bool, channels: int, inner: int | None, groups: int
) -> SelfAttention:
    def layer(c_in: int, c_out: int) -> nn.Module:
        return kit.conv(c_in, c_out, groups=groups)

    return SelfAttention(channels, layer=layer, inner=inner, norm=_or_none(kit.norm), affine=affine)


def _or_none(name: str) -> str | None:
    return None if name == "none" else name
