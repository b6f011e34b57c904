"""Names and options that the networks of several families share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from conv_kan.names import ACTIVATIONS, NORMS
from models.kinds import KINDS
from models.options import Option

# The classifiers of models.heads; those beyond the first need KAN layers.
LINEAR_HEADS = ("linear", "vgg", "matryoshka")
KAN_HEADS = ("kan", "hidden_kan", "kantryoshka")

# Suffix of a name -> kind of its layers and form; None is the plain twin.
KINDS_BY_SUFFIX: dict[str, tuple[str | None, str]] = {
    "": (None, "plain"),
    "kan": ("bspline", "plain"),
    "fastkan": ("rbf", "plain"),
    "kaln": ("legendre", "plain"),
    "kacn": ("chebyshev", "plain"),
    "kagn": ("gram", "plain"),
    "kajn": ("jacobi", "plain"),
    "kabn": ("bernstein", "plain"),
    "relukan": ("relu", "plain"),
    "wavkan": ("wavelet", "plain"),
    "fourierkan": ("fourier", "plain"),
    "polykan": ("monomial", "plain"),
    "grkan": ("rational", "plain"),
    "svkan": ("shared_spline", "plain"),
    "kagn_bn": ("gram", "bottleneck"),
    "moe_kagn_bn": ("gram", "bottleneck_experts"),
}

# What published layers of a kind are made with, where it is not the default here.
PUBLISHED_LAYERS: dict[str, dict[str, Any]] = {
    "legendre": {"squash": "minmax"},
    "rbf": {"grid_size": 5, "grid_range": (-1.0, 1.0), "base": "gelu"},
}

NDIM = Option("ndim", int, 2, "spatial dimensions: 1 for signals, 2 images, 3 volumes",
              choices=(1, 2, 3))  # fmt: skip
GROUPS = Option("groups", int, 1, "groups of every convolution but the first", minimum=1)
DROPOUT = Option("dropout", float, 0.0, "of channels, in every layer but the first", 0, 1)


def network_name(family: str, suffix: str) -> str:
    """The name of a network of a kind, as published: "res" and "moe_kagn_bn": reskagnet_moe_bn."""
    if suffix in ("", "fastkan"):
        return f"fast_{family}kanet" if suffix else f"{family}net"
    acronym, *form = suffix.removeprefix("moe_").split("_")
    mixture = ["moe"] if suffix.startswith("moe_") else []
    return "_".join([f"{family}{acronym}et", *mixture, *form])


def with_defaults(options: Iterable[Option], defaults: dict[str, Any]) -> list[Option]:
    """The options, some of them with other defaults."""
    changed = [replace(o, default=defaults.get(o.name, o.default)) for o in options]
    assert set(defaults) <= {option.name for option in changed}
    return changed


def stem_options(stem: tuple[int, int, bool] | None) -> list[Option]:
    """Options of the first convolution: kernel, stride, pool; None if the depth decides them."""
    kernel, stride, pool = stem or (None, None, None)
    null = "" if stem else "; null: that of the depth"
    types: Sequence[Any] = (int, bool) if stem else (int | None, bool | None)
    text = "norm of the first convolution; null: that of the others"
    return [
        Option("stem_kernel", types[0], kernel, f"kernel of the first convolution{null}",
               choices=(1, 3, 5, 7)),
        Option("stem_stride", types[0], stride, f"stride of the first convolution{null}",
               choices=(1, 2)),
        Option("stem_pool", types[1], pool, f"maximum over 3x3 behind it, of every other{null}"),
        Option("stem_norm", str | None, None, text, choices=(*NORMS, "none")),
    ]  # fmt: skip


def head_activation_options(kind: str | None) -> list[Option]:
    """The option of networks whose head may have KAN layers."""
    if kind is None or not KINDS[kind].head_activations:
        return []
    text = "of kan heads, which published ones have instead of the layers' own (null): gelu"
    return [Option("head_activation", str | None, None, text, choices=ACTIVATIONS)]
