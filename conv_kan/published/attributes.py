"""Where what published layers hold is found here, said by the AttributeError of who asks for it."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any

from torch import Tensor, nn

from conv_kan.layers.attention import SelfAttention
from conv_kan.layers.efficient import EfficientKAN, EfficientKANLinear
from conv_kan.layers.focal import FocalModulation
from conv_kan.layers.layer import Layer
from conv_kan.layers.linear import KAN
from conv_kan.layers.mixture import MixtureOfExperts, WithPenalty
from conv_kan.layers.radial import RadialFunctions
from conv_kan.layers.rational import GroupRational
from conv_kan.layers.volver import Volver

# Published attribute -> our paths, of which the first that a layer has is meant. A path may begin
# in the layer, in its inner layer or in the first one of a network.
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    # sizes
    "inputdim": ("c_in",),
    "outdim": ("c_out",),
    "input_dim": ("channels", "c_in"),
    "input_size": ("channels", "c_in"),
    "output_size": ("experts.0.c_out", "c_out"),
    "in_channels": ("c_in",),
    "out_channels": ("c_out",),
    "input_features": ("c_in",),
    "output_features": ("c_out",),
    "in_features": ("c_in",),
    "out_features": ("c_out",),
    "dim": ("channels",),
    "dims": ("proj_q.c_in",),
    "inner_dim": ("inner.c_in", "inner.channels"),
    "dim_reduction": ("inner.c_in",),
    "min_internal": ("inner.c_in",),
    "layers_hidden": ("layers", "head"),
    "num_layers": ("layers",),
    "kernel_size": ("geometry.kernel_size",),
    "stride": ("geometry.stride",),
    "padding": ("geometry.padding",),
    "dilation": ("geometry.dilation",),
    "groups": ("geometry.groups",),
    "ndim": ("geometry.ndim",),
    "conv_dims": ("experts.0.geometry.ndim", "inner.experts.0.geometry.ndim"),
    # the basis and its shape
    "degree": ("basis.degree",),
    "degrees": ("basis.degree",),
    "polynomial_order": ("basis.degree", "poly.basis.degree", "0.basis.degree"),
    "order": ("denominator.shape",),
    "spline_order": ("basis.order", "order"),
    "grid_size": ("basis.num_functions", "grid_size"),
    "grid_range": ("basis.low", "basis.centres"),
    "grid_min": ("basis.centres",),
    "grid_max": ("basis.centres",),
    "grid": ("basis.knot", "basis.centres"),
    "rbf": ("basis",),
    "denominator": ("basis.width",),
    "arange": ("basis.num_functions",),
    "epsilon": ("basis.squash",),
    "a": ("basis.a",),
    "b": ("basis.b",),
    "g": ("basis.g",),
    "k": ("basis.k", "k"),
    "r": ("basis.factor",),
    "train_ab": ("basis.low.requires_grad",),
    "phase_low": ("basis.low",),
    "phase_high": ("basis.high",),
    "beta_weights": ("basis.beta",),
    "beta": ("basis.recurrence",),
    "wavelet_type": ("wavelet",),
    "mode": ("init",),
    "num_groups": ("denominator.shape",),
    # functions of x
    "b_splines": ("edge_functions",),
    "bernstein_poly": ("basis.functions",),
    "gram_poly": ("basis.functions",),
    "compute_legendre_polynomials": ("basis.functions", "0.basis.functions"),
    "compute_chebyshev_polynomials": ("basis.functions",),
    "compute_jacobi_polynomials": ("basis.functions",),
    "compute_efficient_monomials": ("poly.basis.functions",),
    "wavelet_transform": ("branches",),
    "rational": ("forward",),
    "attention": ("forward",),
    "softmax": ("forward",),
    "softplus": ("forward",),
    "avgpool": ("forward",),
    "global_pool": ("forward",),
    "conv_w_fun": ("branches",),
    **dict.fromkeys(
        (
            "forward_fast_kan",
            "forward_kab",
            "forward_kacn",
            "forward_kag",
            "forward_kaj",
            "forward_kal",
            "forward_kan",
            "forward_relukan",
            "forward_wavkan",
        ),
        ("branches",),
    ),
    # weights
    "base_conv": ("base_weight",),
    "base_weights": ("base_weight", "base.weight", "0.base_weight"),
    "base_linear": ("base_weight",),
    "weight1": ("base_weight",),
    "poly_weights": ("basis_weight", "poly.basis_weight", "0.basis_weight"),
    "poly_weight": ("basis_weight",),
    "poly_conv": ("basis_weight",),
    "spline_conv": ("basis_weight",),
    "spline_weight": ("basis_weight",),
    "spline_linear": ("basis_weight",),
    "relukan_conv": ("basis_weight",),
    "equal_size_conv": ("basis_weight",),
    "grams_basis_weights": ("basis_weight",),
    "cheby_coeffs": ("basis_weight",),
    "jacobi_coeffs": ("basis_weight",),
    "bernstein_coeffs": ("basis_weight",),
    "wavelet_conv": ("wavelet_weight",),
    "wavelet_weights": ("wavelet_weight",),
    "scaled_spline_weight": ("scaled_weight",),
    "inner_proj": ("squeeze",),
    "out_proj": ("expand",),
    "outer_proj": ("expand",),
    "weight_numerator": ("numerator",),
    "weight_denominator": ("denominator",),
    "curve2coeff": ("update_grid",),
    "init_weights": ("reset_parameters",),
    "initialize": ("reset_parameters",),
    "spline_weight_init_scale": ("basis_weight",),
    "enable_standalone_scale_spline": ("spline_scaler",),
    "scale_noise": ("noise_scale",),
    "scale_base": ("base_scale",),
    "scale_spline": ("spline_scale",),
    # what stands around them
    "base_activation": ("base", "activation", "0.base"),
    "act": ("base",),
    "use_base_update": ("base_weight",),
    "norm_kwargs": ("norm",),
    "layer_norm": ("norm",),
    "layernorm": ("norm",),
    "norm_layer": ("norm",),
    "bn": ("norm",),
    "layer_norms": ("norm",),
    "batch_norms": ("norm",),
    "prelu": ("activation",),
    "prelus": ("activation",),
    "p_dropout": ("dropout",),
    # attention, focal modulation, mixtures
    "freqs": ("rope.frequencies",),
    "freqs_t_x": ("rope",),
    "freqs_t_y": ("rope",),
    "compute_cis": ("rope",),
    "rope_mixed": ("rope.mode",),
    "focal_level": ("levels",),
    "focal_window": ("focal_layers",),
    "focal_factor": ("focal_layers",),
    "kernel_sizes": ("focal_layers",),
    "normalize_modulator": ("normalize",),
    "use_postln_in_modulation": ("norm",),
    "experts": ("experts",),
    "num_experts": ("num_experts",),
    "noisy_gating": ("noisy",),
    "w_gate": ("gate_weight",),
    "w_noise": ("noise_weight",),
    "mean": ("noise_weight",),
    "std": ("noise_weight",),
    "cv_squared": ("penalty",),
    "noisy_top_k_gating": ("forward",),
    "forward_moe_base": ("base_branch",),
    "forward_moe_inner": ("inner",),
    "forward_moe_outer": ("expand",),
}
_BEGINNINGS = ("", "inner.", "layer.", "layer.inner.", "layers.0.", "layers.0.inner.", "head.0.")
_LAYERS = (
    Layer,
    SelfAttention,
    FocalModulation,
    MixtureOfExperts,
    WithPenalty,
    KAN,
    Volver,
    EfficientKAN,
    EfficientKANLinear,
    GroupRational,
    RadialFunctions,
)


def find_attribute(layer: nn.Module, name: str) -> str | None:
    """The path under which this layer has what published ones call `name`; None if it has not."""
    for path in ATTRIBUTES.get(name, ()):
        for beginning in _BEGINNINGS:
            if beginning + path == name:
                continue
            try:
                attrgetter(beginning + path)(layer)
            except AttributeError:
                continue
            return beginning + path
    return None


def _say_where(plain: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    """__getattr__ of a class of layers, whose error also says where a published attribute is."""

    def getattribute(self: Any, name: str) -> Any:
        try:
            return plain(self, name)
        except AttributeError as error:
            path = find_attribute(self, name)
            if path is None:
                raise
            message = f"{error}; what published layers have there is in .{path} here"
            if isinstance(attrgetter(path)(self), Tensor):
                message += ", and as published in conv_kan.interop.export_published(layer)"
            raise AttributeError(message + ".") from None

    return getattribute


def say_where_attributes_are() -> None:
    """Teach it to the classes of layers: only who works with published names needs it."""
    for layer in _LAYERS:
        setattr(layer, "__getattr__", _say_where(layer.__getattr__))  # noqa: B010
