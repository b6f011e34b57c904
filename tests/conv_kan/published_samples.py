"""Arguments and inputs for every published name."""

import inspect

import torch

from conv_kan import published

_FEATURES = (6, 4)
_DEGREE = {"ChebyKANLayer", "JacobiKANLayer", "BernsteinKANLayer"}
_ARGUMENTS = {"ReLUKANLayer": (6, 5, 3, 4)} | {name: (*_FEATURES, 3) for name in _DEGREE}
_IMAGES = {"KANvolver": ([6, 4],), "Legendvolver": (1, [6, 4]), "Polyvolver": ()}
_LAYERS = {"KANLayer", "KALNLayer", "FastKANLayer", "GRAMLayer", "WavKANLayer"}
_LAYERS |= {"BottleNeckGRAMLayer", "KANLinear"}


def sample(name):
    """(positional arguments, keywords, an input) with which the name can be called."""
    if name.startswith("KAT_Group"):
        return (), {}, torch.randn(2, 16, 3, 16)
    if name == "RadialBasisFunction":
        return (), {}, torch.randn(5, 6)
    if name in _IMAGES:
        return _IMAGES[name], {}, torch.randn(5, 784)
    if name in _ARGUMENTS or name in _LAYERS:
        return _ARGUMENTS.get(name, _FEATURES), {}, torch.randn(5, 6)
    if name.startswith("mlp_") or "D" not in name:
        return ([6, 5, 4],), {}, torch.randn(5, 6)
    ndim = int(name.removesuffix("V2").removesuffix("Layer")[-2])
    x = torch.randn(3, 8, *(5, 4, 3)[:ndim])
    if "RoPE" in name:
        return (12,), {"padding": 1}, torch.randn(3, 12, *x.shape[2:])
    if "tention" in name:
        return (8,), {"padding": 1}, x
    if "Focal" in name:
        return (8,), {}, x
    if name.startswith("MoE"):
        few = {"num_experts": 3, "k": 2}
        return (8, 8), {"kernel_size": 3, "padding": 1, **few}, x
    return (8, 8, 3), {"padding": 1, "groups": 2}, x


def make(name, **keywords):
    """What the name makes of its sample, and the input."""
    args, kwargs, x = sample(name)
    return published.get_published(name)(*args, **{**kwargs, **keywords}), x


def make_wrong(name, argument, value):
    """What the name makes of its sample but for one argument."""
    args, kwargs, _ = sample(name)
    function = published.get_published(name)
    arguments = dict(zip(inspect.signature(function).parameters, args, strict=False))
    return function(**{**arguments, **kwargs, argument: value})
