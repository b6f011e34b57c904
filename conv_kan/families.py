"""The families of KAN convolutions: one layer, a row of arguments each.

Rows are read without torch; it comes with the first layer that one makes.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from conv_kan.bases import basis_options, create_basis
from conv_kan.ops.maths.checks import check_choice

if TYPE_CHECKING:
    from conv_kan.bases import Basis
    from conv_kan.layers import KAN, KANConv


@dataclass(frozen=True)
class Family:
    """A family as arguments of KANConv and KAN.

    `basis_options` holds the basis's arguments and this family's defaults for them; `mlp_layer`
    holds what the fully connected layers do differently from the convolutions, and
    `mlp_activations` names the arguments that their published base_activation sets.
    """

    name: str
    acronym: str
    basis: str
    basis_options: Mapping[str, Any]
    base: str | None = "silu"
    activation: str | None = "silu"
    norm: str | None = "batch"
    norm_position: str = "output"
    dropout_position: str = "basis"
    mlp_layer: Mapping[str, Any] = field(default_factory=dict)
    mlp_activations: tuple[str, ...] = ()

    def conv(
        self,
        c_in: int,
        c_out: int,
        kernel_size: int | Sequence[int],
        *,
        ndim: int = 2,
        **options: Any,
    ) -> KANConv:
        """A KANConv of this family; options are the basis's (degree=5) and KANConv's (groups=2).

        Raises: ValueError for an unknown option -> the nearest one; what KANConv raises.
        """
        from conv_kan.layers import KANConv

        basis, layer = self._split(options, _options(KANConv))
        arguments: dict[str, Any] = {
            "base": self.base,
            "activation": self.activation,
            "norm": self.norm,
            "norm_position": self.norm_position,
            "dropout_position": self.dropout_position,
            **layer,
        }
        return KANConv(c_in, c_out, kernel_size, basis=basis, ndim=ndim, **arguments)

    def mlp(self, sizes: Sequence[int], **options: Any) -> KAN:
        """A KAN of this family; options are the basis's (degree=5), KAN's and KANLinear's."""
        from conv_kan.layers import KAN, KANLinear

        basis, layer = self._split(
            options, (_options(KAN) | _options(KANLinear)) - {"dropout_position", "linear"}
        )
        arguments: dict[str, Any] = {
            "base": self.base,
            "activation": self.activation,
            "norm_position": self.norm_position,
            **self.mlp_layer,
            **layer,
        }
        return KAN(sizes, basis=basis, **arguments)

    @property
    def defaults(self) -> dict[str, Any]:
        """The arguments of the basis and this family's defaults for them."""
        return {**basis_options(self.basis), **self.basis_options}

    def _split(
        self, options: Mapping[str, Any], layer_options: set[str]
    ) -> tuple[Basis, dict[str, Any]]:
        """The basis made from its options, and the other options."""
        known = self.defaults
        for name in options:
            check_choice(f"option of family {self.name!r}", name, [*known, *sorted(layer_options)])
        chosen = {name: options.get(name, default) for name, default in known.items()}
        rest = {name: value for name, value in options.items() if name not in known}
        return create_basis(self.basis, **chosen), rest


def _options(layer: type) -> set[str]:
    """The keyword arguments of a layer that a family may be given."""
    parameters = inspect.signature(layer).parameters.values()
    named = {p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
    return named - {"basis", "ndim"}


# Published convolutions default to an instance norm, and published models pass a batch norm. Batch
# is the default here: rows that end without an activation (chebyshev) cannot learn with the other.
FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            name="bspline",
            acronym="KAN",
            basis="bspline",
            basis_options={"grid_size": 5, "spline_order": 3, "grid_range": (-1.0, 1.0)},
            base="gelu",
            activation="prelu",
            dropout_position="output",
            mlp_layer={"norm": "layer"},
            mlp_activations=("base",),
        ),
        Family(
            name="rbf",
            acronym="FastKAN",
            basis="rbf",
            basis_options={"grid_size": 8, "grid_range": (-2.0, 2.0)},
            activation=None,
            norm_position="input",
            mlp_layer={"norm": "layer", "base_bias": True},
            mlp_activations=("base",),
        ),
        Family(
            name="legendre",
            acronym="KALN",
            basis="legendre",
            basis_options={"degree": 3},
            base="identity",
            mlp_layer={"norm": "layer", "base": "silu"},
            mlp_activations=("base", "activation"),
        ),
        Family(
            name="chebyshev",
            acronym="KACN",
            basis="chebyshev",
            basis_options={"degree": 3},
            base=None,
            activation=None,
            dropout_position="output",
            mlp_layer={"norm": None},
        ),
        Family(
            name="gram",
            acronym="KAGN",
            basis="gram",
            basis_options={"degree": 3},
            mlp_layer={"norm": "layer"},
            mlp_activations=("base", "activation", "outer"),
        ),
        Family(
            name="jacobi",
            acronym="KAJN",
            basis="jacobi",
            basis_options={"degree": 3, "a": 1.0, "b": 1.0},
            base="identity",
            dropout_position="functions",
            mlp_layer={"norm": "layer", "base": "silu"},
            mlp_activations=("base", "activation"),
        ),
        Family(
            name="bernstein",
            acronym="KABN",
            basis="bernstein",
            basis_options={"degree": 3},
            base="identity",
            mlp_layer={"norm": "layer", "base": "silu"},
            mlp_activations=("base", "activation"),
        ),
        Family(
            name="relu",
            acronym="ReLUKAN",
            basis="relu",
            basis_options={"g": 5, "k": 3, "train_phases": True},
            dropout_position="input",
            mlp_layer={"base": None, "activation": None, "norm": None, "base_bias": True},
        ),
        Family(
            name="fourier",
            acronym="FourierKAN",
            basis="fourier",
            basis_options={"num_frequencies": 3, "constant": True},
            mlp_layer={"norm": "layer"},
        ),
        Family(
            name="monomial",
            acronym="PolyKAN",
            basis="monomial",
            basis_options={"degree": 3},
            mlp_layer={"norm": "layer"},
        ),
        # Functions that are shared: by all channels of a layer. The layer is
        # a plain one behind them, so that it has no other base and ends in its norm.
        Family(
            name="rational",
            acronym="GRKAN",
            basis="rational",
            basis_options={"num_groups": 1, "init": "swish"},
            base=None,
            activation=None,
            mlp_layer={"norm": "layer", "base": None, "activation": None},
        ),
        Family(
            name="shared_spline",
            acronym="SVKAN",
            basis="shared_spline",
            basis_options={"grid_size": 8, "spline_order": 3, "grid_range": (-4.0, 4.0)},
            base=None,
            activation=None,
            mlp_layer={"norm": "layer", "base": None, "activation": None},
        ),
    )
}


def get_family(name: str) -> Family:
    """The family called `name` ("gram") or by its published acronym ("KAGN").

    Raises: ValueError for an unknown name -> the nearest one.
    """
    by_acronym = {family.acronym: family for family in FAMILIES.values()}
    if name in by_acronym:
        return by_acronym[name]
    return FAMILIES[check_choice("family", name, [*FAMILIES, *by_acronym])]
