"""Kinds of layers that a network can be made of, as rows, and the options that each brings.

Reading them loads no torch; models.kits makes the layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from conv_kan.bases import basis_squashes
from conv_kan.families import FAMILIES, Family
from conv_kan.names import ACTIVATIONS, BACKENDS, NORMS, SCALES, WAVELETS
from models.options import Option

_EXPERTS = (
    Option("num_experts", int, 8, "experts of a convolution", minimum=1),
    Option("active_experts", int, 2, "experts that an image is sent to", minimum=1),
    Option("noisy_gating", bool, True, "noise on the gates in training, which balances the load"),
)
_BOTTLENECK = (
    Option("reduction", float, 8.0, "of the channels inside the bottleneck", minimum=1),
    Option("min_inner", int, 16, "fewest channels inside, if the layer has as many", minimum=1),
)
# How to check the arguments of bases; their defaults are the family's.
_BASIS_ARGUMENTS: dict[str, dict[str, Any]] = {
    "degree": {"type": int, "minimum": 1, "help": "degree of the polynomials", "of_basis": True},
    "grid_size": {"type": int, "minimum": 1, "help": "intervals of the grid (bspline) or number of "
                  "centres (rbf)", "of_basis": True},
    "spline_order": {"type": int, "minimum": 0, "help": "order of the splines", "of_basis": True},
    "grid_range": {"type": tuple[float, float], "help": "where the grid begins and ends",
                   "of_basis": True},
    "outer": {"type": str, "choices": ACTIVATIONS, "help": "activation applied to every "
              "polynomial", "of_basis": True},
    "a": {"type": float, "help": "the weight of the polynomials is (1-z)^a (1+z)^b, a > -1",
          "of_basis": True},
    "b": {"type": float, "help": "see a", "of_basis": True},
    "g": {"type": int, "minimum": 1, "help": "intervals of [0, 1]", "of_basis": True},
    "k": {"type": int, "minimum": 0, "help": "a function spans k + 1 intervals", "of_basis": True},
    "train_phases": {"type": bool, "help": "learn where the functions begin and end",
                     "of_basis": True},
    "wavelet": {"type": str, "choices": WAVELETS, "help": "function of every edge, "
                "scaled and shifted by it", "of_basis": True},
    "squash": {"type": str, "help": "applied to x before the basis"},
    "scale": {"type": str, "choices": SCALES, "help": "unit: E[sum phi^2] = 1 for x ~ N(0, 1); "
              "none: as published"},
}  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """What the layers of a network are.

    `form` names the row of models.forms that makes them, from the family of that name, if there is
    one. `base`, `activation` and `norm` are the defaults of convolutions; with `norm_first` their
    norm acts on the input. `basis_defaults` are options of convolutions and of fully connected
    layers, `own` those of convolutions alone; with `experts` these are mixtures.
    `head_activations` holds the activations of fully connected layers that may be chosen.
    """

    form: str
    basis: str
    base: str | None
    activation: str | None
    norm: str | None
    family: str = ""
    norm_first: bool = False
    basis_defaults: Mapping[str, Any] = field(default_factory=dict)
    head_activations: Mapping[str, str] = field(default_factory=dict)
    own: Sequence[Option] = ()
    experts: bool = False


def _of_family(family: Family) -> Kind:
    connected = {**vars(family), **family.defaults, **family.mlp_layer}
    return Kind(
        form="family",
        family=family.name,
        basis=family.basis,
        base=family.base,
        activation=family.activation,
        norm=family.norm,
        norm_first=family.norm_position == "input",
        basis_defaults=family.defaults,
        head_activations={key: connected[key] for key in family.mlp_activations},
    )


def _rows() -> dict[str, Kind]:
    kinds = {name: _of_family(family) for name, family in FAMILIES.items()}
    squeezed = replace(kinds["gram"], form="bottleneck", own=_BOTTLENECK)
    return {
        **kinds,
        "gram_bottleneck": squeezed,
        "gram_bottleneck_experts": replace(squeezed, experts=True),
        "wavelet": Kind(
            form="wavelet",
            basis="wavelet",
            base="silu",
            activation=None,
            norm="batch",
            basis_defaults={"wavelet": "mexican_hat"},
        ),
    }


KINDS = _rows()


def basis_of(kind: str | None) -> str | None:
    """The basis of a kind, for error messages; None for plain layers."""
    return None if kind is None else KINDS[kind].basis


def head_activations(kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The activations of a KAN head: head_activation in all places, or else each its own."""
    row, chosen = KINDS[kind], options.get("head_activation")
    if chosen is not None:
        return dict.fromkeys(row.head_activations, chosen)
    of_basis = {key: options[key] for key in row.basis_defaults if key in row.head_activations}
    return {**row.head_activations, **of_basis}


@cache
def kind_options(name: str | None) -> tuple[Option, ...]:
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
    options += _EXPERTS if kind.experts else ()
    for argument, default in kind.basis_defaults.items():
        row = dict(_BASIS_ARGUMENTS[argument])
        if argument == "squash":
            row["choices"] = basis_squashes(kind.basis)
        options.append(Option(name=argument, default=default, **row))
    text = "who computes the functions; auto: compiled kernels where they run, else torch"
    return (*options, Option("backend", str, "auto", text, choices=BACKENDS))


def _activation_options(kind: Kind) -> list[Option]:
    names = (*ACTIVATIONS, "none")
    text = "of the convolutions' base branch; none: no such branch"
    return [
        Option("base", str, kind.base or "none", f"activation {text}", choices=names),
        Option("activation", str, kind.activation or "none", "what ends a convolution",
               choices=(*names, "prelu")),
    ]  # fmt: skip
