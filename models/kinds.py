"""Kinds of layers that a network can be made of, as rows, and the options that each brings.

Reading them loads no torch; models.kits makes the layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from conv_kan.bases import basis_squashes
from conv_kan.bases.rational_init import RATIONALS
from conv_kan.families import FAMILIES, Family
from conv_kan.names import ACTIVATIONS, BACKENDS, NORMS, SCALES, WAVELETS
from models.options import Option

# How a convolution is made of the functions of a kind: plainly, between two pointwise projections
# that leave few channels to it, as a mixture of experts, and as a mixture in a bottleneck.
FORMS = ("plain", "bottleneck", "experts", "bottleneck_experts")
# Options that one part of a form has, and their values where it is null.
BOTTLENECK = {"reduction": 8.0, "reduction_pointwise": 4.0, "min_inner": 16}
EXPERTS = {"num_experts": 8, "active_experts": 2, "noisy_gating": True}
_FORM_OPTIONS = (
    Option("reduction", float | None, None, "of the channels inside a bottleneck of 3x3; null: 8",
           minimum=1),
    Option("reduction_pointwise", float | None, None, "the same for 1x1 layers and stems; null: 4",
           minimum=1),
    Option("min_inner", int | None, None, "fewest channels inside, if there are as many; null: 16",
           minimum=1),
    Option("num_experts", int | None, None, "experts of a convolution; null: 8", minimum=1),
    Option("active_experts", int | None, None, "experts that an image is sent to; null: 2",
           minimum=1),
    Option("noisy_gating", bool | None, None, "noise on the gates in training, which balances the "
           "load; null: true"),
)  # fmt: skip
_DROPOUT_OPTIONS = (
    Option("dropout_position", str | None, None, "where it acts in a convolution: on x, on what "
           "the functions are of, on the functions or on y; null: as the kind was published",
           choices=("input", "basis", "functions", "output")),
    Option("dropout_kind", str | None, None, "drop whole channels, or add noise to a share of the "
           "values; null: noise in bottlenecks, else channel", choices=("channel", "noise")),
)  # fmt: skip
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
    "num_frequencies": {"type": int, "minimum": 1, "help": "pairs of sine and cosine",
                        "of_basis": True},
    "constant": {"type": bool, "help": "a constant among the functions", "of_basis": True},
    "num_groups": {"type": int, "minimum": 1, "help": "groups of channels, each with a denominator "
                   "of its own; divides the channels of every layer", "of_basis": True},
    "init": {"type": str, "choices": tuple(RATIONALS), "help": "the function imitated at first",
             "of_basis": True},
    "squash": {"type": str, "help": "applied to x before the basis"},
    "scale": {"type": str, "choices": SCALES, "help": "unit: E[sum phi^2] = 1 for x ~ N(0, 1); "
              "none: as published"},
}  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """What the layers of a network are.

    `family` is that of conv_kan which makes them, or "" for a wavelet of every edge. `base`,
    `activation` and `norm` are the defaults of convolutions; with `norm_first` their norm acts on
    the input. `basis_defaults` are options of convolutions and of fully connected layers.
    `head_activations` holds the activations of fully connected layers that may be chosen.
    """

    family: str
    basis: str
    base: str | None
    activation: str | None
    norm: str | None
    norm_first: bool = False
    basis_defaults: Mapping[str, Any] = field(default_factory=dict)
    head_activations: Mapping[str, str] = field(default_factory=dict)


def _of_family(family: Family) -> Kind:
    connected = {**vars(family), **family.defaults, **family.mlp_layer}
    return Kind(
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
    return {
        **kinds,
        "wavelet": Kind(
            family="",
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
def kind_options(name: str | None, form: str = "plain") -> tuple[Option, ...]:
    """The options of the layers of a kind, in this form unless another is asked for.

    Or of convolutions without functions if name is None.
    """
    kind = None if name is None else KINDS[name]
    norm = "batch" if kind is None else kind.norm or "none"
    if form == "experts":  # an expert may see a single image of a batch, whose statistics are none
        norm = "layer"
    options = [
        Option("norm", str, norm, "norm of the convolutions", choices=(*NORMS, "none")),
        Option("affine", bool, True, "whether norms learn a scale and a shift"),
    ]
    if kind is None:
        return tuple(options)
    text = "of the convolutions: plain, between projections, mixtures of experts, or both"
    options += [*_activation_options(kind), Option("form", str, form, text, choices=FORMS)]
    options += [*_FORM_OPTIONS, *_DROPOUT_OPTIONS]
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


def form_values(form: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the options that a form has, among all options of a kind.

    Raises: ValueError for a value given to an option that the form does not have.
    """
    parts: dict[str, dict[str, Any]] = {"bottleneck": BOTTLENECK, "experts": EXPERTS}
    values: dict[str, Any] = {}
    for part, defaults in parts.items():
        for name, default in defaults.items():
            value = options[name]
            if part in form:
                values[name] = default if value is None else value
            elif value is not None:
                having = [other for other in FORMS if part in other]
                raise ValueError(
                    f"{name}={value!r} has no effect with form={form}; leave it out, or choose "
                    f"form={' or '.join(having)}"
                )
    return values


def dropout_arguments(form: str, options: Mapping[str, Any]) -> dict[str, str]:
    """What options say of the dropout of convolutions of a form, where they say something.

    Raises: ValueError for a place that a bottleneck has none at.
    """
    position, kind = options["dropout_position"], options["dropout_kind"]
    if "bottleneck" not in form:
        given = {"dropout_position": position, "dropout_kind": kind}
        return {name: value for name, value in given.items() if value is not None}
    if position not in (None, "input"):
        raise ValueError(
            f"dropout_position={position} is none of form={form}, whose dropout acts on the input; "
            "leave it out, or choose form=plain or experts"
        )
    return {"dropout_kind": kind or "noise"}


def chosen_arguments(
    given: Mapping[str, Any],
    known: Mapping[str, Sequence[str]],
    kind: str,
    prefix: str = "",
    choice: str = "kind",
) -> dict[str, Any]:
    """The given arguments that are not null; `known` has those of every kind, which is an option
    called prefix + choice.

    Raises: ValueError for an argument that this kind does not have, naming the kinds that do.
    """
    chosen = {name: value for name, value in given.items() if value is not None}
    for name, value in chosen.items():
        if name not in known[kind]:
            having = [other for other, names in known.items() if name in names]
            raise ValueError(
                f"{prefix}{name}={value!r} has no effect with {prefix}{choice}={kind}; leave it "
                f"out, or choose {prefix}{choice}={' or '.join(having)}"
            )
    return chosen
