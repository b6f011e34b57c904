"""AutoKAN and TinyAutoKAGN: published networks by a name among their arguments."""

from __future__ import annotations

from typing import Any

from torch import nn

from conv_kan.published.arguments import REQUIRED, Row
from models.options import advise
from models.published.networks import find_network

_NORMS = {"instance2d": nn.InstanceNorm2d, "batchnorm2d": nn.BatchNorm2d}
# What AutoKAN passes on where nothing is given; networks have other defaults.
# Its names of networks that are called otherwise.
_ALIASES = {f"{name}18": f"{name}_18" for name in ("ukanet", "ukalnet", "ukagnet", "ukacnet")}
_AUTO = {"affine": True, "dropout": 0.0, "dropout_linear": 0.0}


def AutoKAN(  # noqa: N802 - a published class
    model_name: str, input_channels: int, num_classes: int, **arguments: Any
) -> nn.Module:
    """The published network of this name: AutoKAN(model_name="vggkagn", input_channels=3, ...).

    Other arguments are the network's. norm_layer is a class, or instance2d or batchnorm2d;
    base_activation a class or a name, gelu, silu or relu. Norms are affine and nothing is dropped
    unless they say so, as published.

    Of the published class this does not reproduce:
    - densekalnet169, densekalnet201, densekagnet161, 169 and 201 made densekacnet121;
    - spline_order and grid_size were 1 by default, one straight line for each edge: here they are
      the network's 3 and 5, and weights of such a network want spline_order=1, grid_size=1;
    - base_activation="prelu" gave one slope to be learned for each layer, which is refused here;
    - other norm strings meant an instance norm; they are refused;
    - a name that it did not know made nothing, arguments that a network did not take were ignored,
      and the dictionary of arguments was emptied;
    - it was no module, and train, eval and to returned nothing: this returns the network.

    Raises: ValueError for an unknown name -> the nearest, and for an unknown norm; TypeError for an
        argument that the network does not take -> the nearest.
    """
    make = find_network(_ALIASES.get(model_name, model_name))
    known = make.__signature__.parameters  # type: ignore[attr-defined]
    given = {**{name: value for name, value in _AUTO.items() if name in known}, **arguments}
    norm = given.get("norm_layer")
    if isinstance(norm, str):
        if norm not in _NORMS:
            raise ValueError(f"norm_layer={norm!r} is not known; {advise(norm, _NORMS)}")
        given["norm_layer"] = _NORMS[norm]
    return make(input_channels=input_channels, num_classes=num_classes, **given)


# Type of model -> networks without and with experts, and the arguments that it alone has.
_TINY: dict[str, tuple[tuple[str, str], dict[str, Any]]] = {
    "VGG": (
        ("vggkagn_bn", "moe_vggkagn_bn"),
        {
            "vgg_type": "VGG11",
            "head_type": "Linear",
            "last_attention": False,
            "sa_inner_projection": None,
            "expected_feature_shape": (1, 1),
            "width_scale": 1,
        },
    ),
    "DenseNet": (
        ("tiny_densekagnet_bn", "tiny_densekagnet_moebn"),
        {"growth_rate": 32, "num_init_features": 64},
    ),
}
_EXPERTS = {"num_experts": 8, "noisy_gating": True, "k": 2}
_TINY_NOTE = """Networks of Gram bottlenecks: model_type is VGG or DenseNet.

    is_moe puts mixtures of experts into them. Arguments by keyword alone are of one type of model:
    None stands for VGG11, Linear, (1, 1), 32 and 64.

    Of the published class this does not reproduce: a VGG without experts had an instance norm,
    whatever norm_layer said (its weights want norm_layer=nn.InstanceNorm2d); model_type="ResNet"
    and unknown ones made nothing; arguments of the other type of model were ignored; it was no
    module: this returns the network."""


def tiny_row() -> Row:
    """TinyAutoKAGN."""
    parameters = {"input_channels": REQUIRED, "num_classes": REQUIRED, "model_type": REQUIRED}
    parameters |= {"is_moe": False, "groups": 1, "degree": 3, "dropout": 0.0, "l1_decay": 0.0}
    parameters |= {"dropout_linear": 0.25, "width_scale": 1, "norm_layer": nn.BatchNorm2d}
    parameters |= {"affine": True, **_EXPERTS}
    keywords = {name: None for _, own in _TINY.values() for name in own if name not in parameters}
    return Row("TinyAutoKAGN", parameters, _build_tiny, keywords, note=_TINY_NOTE)


def _build_tiny(model_type: str, is_moe: bool, **arguments: Any) -> nn.Module:
    if model_type not in _TINY:
        raise ValueError(f"model_type={model_type!r} is not known; {advise(model_type, _TINY)}")
    if arguments["width_scale"] == 1:  # a parameter of both, of which one has no use for it
        arguments["width_scale"] = None
    for other, (_, own) in _TINY.items():
        for name, default in own.items():
            value = arguments.pop(name)
            if other == model_type:
                arguments[name] = default if value is None else value
            elif value is not None:
                raise ValueError(
                    f"{name}={value!r} has no effect with model_type={model_type!r}; leave it out"
                )
    experts = {name: arguments.pop(name) for name in _EXPERTS}
    make = find_network(_TINY[model_type][0][is_moe])
    return make(**arguments, **(experts if is_moe else {}))
