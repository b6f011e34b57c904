"""Kits: the layers a network is made of, so that a network names no basis.

`KANKit` makes the layers of a kind, `ConvKit` those of the plain twin. What can be chosen is
listed by `models.kinds.kind_options`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from torch import nn

from conv_kan.layers import SelfAttention
from conv_kan.layers.norm import make_norm
from models.blocks import CONVS, ConvBlock
from models.forms import Maker, experts, maker_of
from models.kinds import KINDS, dropout_arguments, form_values

# Option -> argument of MixtureOfExperts.
_GATING = {"num_experts": "num_experts", "active_experts": "k", "noisy_gating": "noisy"}


class Kit(Protocol):
    """What a network asks of its layers, over `ndim` spatial dimensions."""

    @property
    def ndim(self) -> int: ...

    @property
    def norm(self) -> str:
        """The name of the norm of its convolutions, or "none"."""
        ...

    @property
    def ends_in_norm(self) -> bool:
        """Whether nothing follows the norm of a convolution."""
        ...

    def conv(
        self,
        c_in: int,
        c_out: int,
        kernel_size: int = 3,
        *,
        stride: int = 1,
        padding: int | None = None,
        dilation: int = 1,
        groups: int = 1,
        dropout: float = 0.0,
        mixes: bool = False,
        **arguments: Any,
    ) -> nn.Module:
        """A layer (B, c_in, *S) -> (B, c_out, *S / stride), padded to the size unless told.

        With `mixes` it is a mixture of experts where the form has them. Other arguments override
        those of the kind: norm, activation, degree.
        """
        ...

    def attention(
        self, channels: int, *, inner: int | None, groups: int, dropout: float = 0.0
    ) -> nn.Module:
        """Self-attention over the positions of (B, channels, *S)."""
        ...

    def make_norm(self, channels: int) -> nn.Module:
        """The norm of its convolutions, alone; the identity where they have none."""
        ...


@dataclass(frozen=True)
class KANKit:
    """Layers of one kind. `conv_arguments` act on convolutions alone, `arguments` on heads too.

    With `norm_first` norms act on the input. `squeeze` holds reduction and its kin of a bottleneck,
    `gating` the arguments of mixtures of experts; empty where the form has none.
    """

    maker: Maker
    ndim: int
    norm: str
    norm_first: bool
    affine: bool
    conv_arguments: Mapping[str, Any]
    arguments: Mapping[str, Any]
    squeeze: Mapping[str, Any]
    gating: Mapping[str, Any]

    @property
    def ends_in_norm(self) -> bool:
        return self.conv_arguments["activation"] is None and not self.norm_first

    def conv(
        self,
        c_in: int,
        c_out: int,
        kernel_size: int = 3,
        *,
        stride: int = 1,
        padding: int | None = None,
        dilation: int = 1,
        groups: int = 1,
        dropout: float = 0.0,
        mixes: bool = False,
        **arguments: Any,
    ) -> nn.Module:
        padding = dilation * (kernel_size // 2) if padding is None else padding
        options: dict[str, Any] = {
            "ndim": self.ndim, "stride": stride, "padding": padding, "dilation": dilation,
            "groups": groups, "dropout": dropout, "norm": _or_none(self.norm),
            "affine": self.affine, **self.conv_arguments, **self.arguments, **arguments,
        }  # fmt: skip
        gating = {"gating": self.gating} if mixes and self.gating else {}
        if self.squeeze:
            key = "reduction" if kernel_size == 3 else "reduction_pointwise"
            options |= {"reduction": self.squeeze[key], "min_inner": self.squeeze["min_inner"]}
            return self.maker.bottleneck(c_in, c_out, kernel_size, **options, **gating)
        if gating:
            return experts(self.maker.conv, c_in, c_out, kernel_size, **options, **gating)
        return self.maker.conv(c_in, c_out, kernel_size, **options)

    def attention(
        self, channels: int, *, inner: int | None, groups: int, dropout: float = 0.0
    ) -> nn.Module:
        return _attention(self, channels, inner, groups=groups, dropout=dropout)

    def make_norm(self, channels: int) -> nn.Module:
        return _make_norm(self, channels)

    def mlp(self, sizes: Sequence[int], **arguments: Any) -> nn.Module:
        """The fully connected network of the kind; arguments override those of the basis."""
        return self.maker.mlp(sizes, **{**self.arguments, **arguments})

    def bottleneck_mlp(self, sizes: Sequence[int], **arguments: Any) -> nn.Module:
        """The same of bottlenecks, which have a reduction of their own."""
        return self.maker.bottleneck_mlp(sizes, **{**self.arguments, **arguments})


@dataclass(frozen=True)
class ConvKit:
    """Layers of the plain twin: dropout of channels, convolution with bias, norm, activation."""

    ndim: int
    norm: str
    affine: bool
    activation: type[nn.Module] = nn.ReLU
    ends_in_norm = False

    def conv(
        self,
        c_in: int,
        c_out: int,
        kernel_size: int = 3,
        *,
        stride: int = 1,
        padding: int | None = None,
        dilation: int = 1,
        groups: int = 1,
        dropout: float = 0.0,
        mixes: bool = False,
        **arguments: Any,
    ) -> nn.Module:
        padding = dilation * (kernel_size // 2) if padding is None else padding
        name = arguments.get("norm", _or_none(self.norm))
        conv = CONVS[self.ndim - 1](
            c_in, c_out, kernel_size, stride, padding, dilation=dilation, groups=groups
        )
        norm = make_norm(name, c_out, self.ndim, arguments.get("affine", self.affine))
        return ConvBlock(conv, norm, self.activation(), dropout)

    def attention(
        self, channels: int, *, inner: int | None, groups: int, dropout: float = 0.0
    ) -> nn.Module:
        return _attention(self, channels, inner, groups=groups, dropout=dropout)

    def make_norm(self, channels: int) -> nn.Module:
        return _make_norm(self, channels)


def create_kit(name: str | None, options: Mapping[str, Any]) -> KANKit | ConvKit:
    """Make the kit of a kind (None: plain) from values for `ndim` and all of `kind_options(name)`.

    Raises: ValueError for a value given to an option that the form does not have, and for a place
    where its dropout cannot act.
    """
    if name is None:
        return ConvKit(options["ndim"], options["norm"], options["affine"])
    kind, form = KINDS[name], form_values(options["form"], options)
    return KANKit(
        maker=maker_of(kind),
        ndim=options["ndim"],
        norm=options["norm"],
        norm_first=kind.norm_first,
        affine=options["affine"],
        conv_arguments={
            **{key: _or_none(options[key]) for key in ("base", "activation")},
            **dropout_arguments(options["form"], options),
        },
        arguments={key: options[key] for key in (*kind.basis_defaults, "backend")},
        squeeze={key: value for key, value in form.items() if key not in _GATING},
        gating={key: form[option] for option, key in _GATING.items() if option in form},
    )


def _attention(kit: Kit, channels: int, inner: int | None, **layers: Any) -> SelfAttention:
    layer: Callable[[int, int], nn.Module] = partial(kit.conv, **layers)
    norm, affine = _or_none(kit.norm), kit.affine  # type: ignore[attr-defined]
    return SelfAttention(
        channels, layer=layer, ndim=kit.ndim, inner=inner, norm=norm, affine=affine
    )


def _make_norm(kit: KANKit | ConvKit, channels: int) -> nn.Module:
    norm = make_norm(_or_none(kit.norm), channels, kit.ndim, kit.affine)
    return nn.Identity() if norm is None else norm


def _or_none(name: str) -> str | None:
    return None if name == "none" else name
