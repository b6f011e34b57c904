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
from models.forms import FORMS, Form
from models.kinds import KINDS

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

    With `norm_first` norms act on the input. `gating` holds the arguments of mixtures of experts.
    """

    form: Form
    norm: str
    norm_first: bool
    affine: bool
    conv_arguments: Mapping[str, Any]
    arguments: Mapping[str, Any]
    gating: Mapping[str, Any]

    @property
    def ends_in_norm(self) -> bool:
        return self.conv_arguments["activation"] is None and not self.norm_first

    def first_conv(self, c_in: int, c_out: int) -> nn.Module:
        return self.form.conv(c_in, c_out, 3, **self._options(1, 1, 0.0))

    def conv(
        self, c_in: int, c_out: int, *, stride: int = 1, groups: int = 1, dropout: float = 0.0
    ) -> nn.Module:
        options = self._options(stride, groups, dropout)
        if self.form.experts is None:
            return self.form.conv(c_in, c_out, 3, **options)
        return self.form.experts(c_in, c_out, 3, gating=self.gating, **options)

    def _options(self, stride: int, groups: int, dropout: float) -> dict[str, Any]:
        shape = {"stride": stride, "padding": 1, "groups": groups, "dropout": dropout}
        norm = {"norm": _or_none(self.norm), "affine": self.affine}
        return {**shape, **norm, **self.conv_arguments, **self.arguments}

    def attention(self, channels: int, *, inner: int | None, groups: int) -> nn.Module:
        def layer(c_in: int, c_out: int) -> nn.Module:
            return self.form.conv(c_in, c_out, 3, **self._options(1, groups, 0.0))

        return _attention(self, layer, channels, inner)

    def mlp(self, sizes: Sequence[int], **arguments: Any) -> nn.Module:
        """The fully connected network of the kind; arguments override those of the basis."""
        return self.form.mlp(sizes, **{**self.arguments, **arguments})


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


def create_kit(name: str | None, options: Mapping[str, Any]) -> KANKit | ConvKit:
    """Make the kit of a kind (None: plain) from values for all of `kind_options(name)`."""
    if name is None:
        return ConvKit(options["norm"], options["affine"])
    kind = KINDS[name]
    own = {option.name: options[option.name] for option in kind.own}
    ends = {key: _or_none(options[key]) for key in ("base", "activation")}
    gating = {key: options[option] for option, key in _GATING.items() if option in options}
    return KANKit(
        form=FORMS[kind.form](kind),
        norm=options["norm"],
        norm_first=kind.norm_first,
        affine=options["affine"],
        conv_arguments={**ends, **own},
        arguments={key: options[key] for key in (*kind.basis_defaults, "backend")},
        gating=gating,
    )


def _attention(
    kit: KANKit | ConvKit, layer: Callable[..., nn.Module], channels: int, inner: int | None
) -> SelfAttention:
    norm = _or_none(kit.norm)
    return SelfAttention(channels, layer=layer, inner=inner, norm=norm, affine=kit.affine)


def _or_none(name: str) -> str | None:
    return None if name == "none" else name
