"""A model for inference alone: what depends on weights only is computed once."""

from __future__ import annotations

import copy

import torch
from torch import nn

from conv_kan.layers.core import KANLayer
from conv_kan.layers.layer import Layer
from conv_kan.ops.maths.norms import BATCH_NORMS, has_hooks


def fold(model: nn.Module) -> nn.Module:
    """A copy of the model in eval mode that computes the same with less work.

        z = f y + s,  f = w / sqrt(var + eps),  s = b - f mean

    In KANConv, KANLinear and bottlenecks, a batch norm z of the output y becomes part of the
    weights (f) and a bias (s), and the weight of the convolution, the constant functions and the
    border are kept from one call to the next, for every size of image; they are made anew if
    weights change. Other layers and norms stay as they are; so do norms without running statistics
    or with hooks.

    Changes of weights are noticed where torch counts them: operations in place (under no_grad too),
    optimizers, load_state_dict, an assignment p.data = x. What is written through p.data
    (p.data.mul_(2)) or a NumPy view (p.numpy()[:] = 0) is not: call `refresh` on the copy after it,
    or write p.mul_(2) under torch.no_grad(). Norms were folded once: another mean needs a new fold.

    Numerics: outputs differ from those of model.eval() by rounding. Weights that are kept take
    their memory twice. Parameters of the copy want no gradients; state_dict has no norms that were
    folded, and biases in their place.
    """
    _require_model("fold", model)
    folded = copy.deepcopy(model).eval().requires_grad_(False)
    with torch.no_grad():
        for module in folded.modules():
            if isinstance(module, Layer) and module.norm_position == "output":
                _fold_norm(module)
            if isinstance(module, KANLayer):
                module.keep_weights()
    return folded


def refresh(folded: nn.Module) -> nn.Module:
    """Have a folded model look at its weights again; returns the model.

    What its layers keep of their weights is made anew at the next call. Needed only after changes
    that torch does not count, such as p.data.mul_(2); harmless for any other model.
    """
    _require_model("refresh", folded)
    for module in folded.modules():
        if isinstance(module, KANLayer):
            module.forget_weights()
    return folded


def _require_model(function: str, model: object) -> None:
    if not isinstance(model, nn.Module):
        given = f"the class {model.__name__}" if isinstance(model, type) else f"{model!r:.80}"
        raise TypeError(f"{function} got {given} but takes a model, a torch.nn.Module; build it.")


def _fold_norm(layer: Layer) -> None:
    norm = layer.norm
    if not isinstance(norm, BATCH_NORMS) or type(norm) not in BATCH_NORMS:
        return  # a subclass computes something else
    if has_hooks(norm) or norm.running_mean is None:
        return
    assert norm.running_var is not None
    factor = torch.rsqrt(norm.running_var.double() + norm.eps)
    if norm.weight is not None:
        factor = factor * norm.weight.double()
    shift = -norm.running_mean.double() * factor
    if norm.bias is not None:
        shift = shift + norm.bias.double()
    if layer.absorb(factor, shift):
        layer.norm = None
