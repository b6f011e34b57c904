"""Activations and squashing functions: by name, as functions, or as modules.

At infinities and NaN they are torch's. Where torch itself differs between its vector and its scalar
instructions, compiled kernels have gelu(inf) = inf, and NaN for the slope of ELU at NaN.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from conv_kan.ops.maths.checks import check_choice

# A name of ACTIVATIONS, for which there are compiled kernels; or a function that has none.
ActivationLike = str | Callable[[Tensor], Tensor]


def identity(x: Tensor) -> Tensor:
    """Return x."""
    return x


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "relu": F.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "softplus": F.softplus,
    "identity": identity,
}

SQUASHES: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "none": identity,
}

# Modules that compute the same with the settings they have by default.
_MODULES: dict[type[nn.Module], str] = {
    nn.SiLU: "silu",
    nn.GELU: "gelu",
    nn.ReLU: "relu",
    nn.Tanh: "tanh",
    nn.Sigmoid: "sigmoid",
    nn.LeakyReLU: "leaky_relu",
    nn.ELU: "elu",
    nn.Softplus: "softplus",
    nn.Identity: "identity",
}


def check_activation(label: str, value: Any) -> ActivationLike:
    """A name of ACTIVATIONS for a name, function or module that computes the same; else a function.

    A module is copied and no longer works in place; `label` names the argument in errors.
    Raises: ValueError for an unknown name, for a module with parameters and for a function that is
    not elementwise, repeatable and finite; TypeError for what is no function.
    """
    if isinstance(value, str):
        return check_choice(label, value, ACTIVATIONS)
    name = _known_name(value)
    if name is not None:
        return name
    if isinstance(value, nn.Module):
        if any(True for _ in value.parameters()):
            raise ValueError(
                f"{label}={value!r} has parameters, which layers do not train in it; pass a module "
                "without any, for example nn.LeakyReLU(0.25) for nn.PReLU()."
            )
        value = copy.deepcopy(value).train()  # as it will be called; chance shows in this mode
        for module in value.modules():
            if hasattr(module, "inplace"):
                module.inplace = False
    _check_elementwise(label, value)
    return value  # type: ignore[no-any-return]


def activation_function(value: ActivationLike) -> Callable[[Tensor], Tensor]:
    """The function of what check_activation returned."""
    return ACTIVATIONS[value] if isinstance(value, str) else value


def _known_name(value: Any) -> str | None:
    """The name of a function or module that computes what ACTIVATIONS holds under it."""
    kind = type(value)
    if kind in _MODULES and _settings(value) == _settings(kind()):
        return _MODULES[kind]
    return next((name for name, function in ACTIVATIONS.items() if function is value), None)


def _settings(activation: nn.Module) -> dict[str, Any]:
    """What decides the values of an activation module."""
    hidden = ("training", "inplace")
    found = vars(activation).items()
    return {key: value for key, value in found if key[0] != "_" and key not in hidden}


def _check_elementwise(label: str, function: Any) -> None:
    """Call the function on some numbers, and on some of them in another shape, and compare."""
    if not callable(function):
        raise TypeError(
            f"{label}={function!r} must be a name, a function of a tensor or a module; pass for "
            "example 'silu' or nn.Mish()."
        )
    with torch.device("cpu"), torch.no_grad():
        try:
            failure = _failure(function)
        except Exception as error:
            failure = f"fails for a tensor ({type(error).__name__}: {error})"
    if failure:
        raise ValueError(
            f"{label}={function!r} {failure}; pass a function that maps every number by itself to "
            "a finite one, always the same, for example nn.Mish()."
        )


def _failure(function: Callable[[Tensor], Tensor]) -> str:
    """Why a function is not elementwise, repeatable and finite; "" if it is."""
    x = torch.linspace(-3.0, 3.0, 24, dtype=torch.float64)
    given = x.clone()
    y = function(given)
    if not isinstance(y, Tensor):
        return f"returned {type(y).__name__} for a tensor"
    if not torch.equal(given, x):
        return "changes its argument in place"
    if y.shape != x.shape:
        return f"maps {tuple(x.shape)} to {tuple(y.shape)}"
    if not y.isfinite().all():
        return "is not finite on [-3, 3]"
    some = slice(2, 14)
    image = function(x[some].flip(0).view(1, 3, 2, 2))
    if image.numel() != 12 or not torch.allclose(image.flatten().flip(0), y[some], atol=1e-12):
        return "depends on more than the number it is applied to, or on chance"
    return ""


def prelu(z: Tensor, slope: Tensor) -> Tensor:
    """a = max(z, 0) + slope_g min(z, 0), one slope per group g of neighbouring channels.

    Shapes: z (B, C, *S), slope (G,) with G dividing C.
    """
    num_groups, channels = slope.numel(), z.shape[1]
    if num_groups > 1:
        slope = slope.unsqueeze(1).expand(num_groups, channels // num_groups).reshape(-1)
    return F.prelu(z, slope.to(z.dtype))
