"""Every published name, with its parameters in their order, by their names, with their defaults.

Behind "*" stand what the published classes took by keyword only, and `legacy`, which is ours.
"""

import inspect
import re

import pytest

from conv_kan import published

GEOMETRY = "groups=1, padding=0, stride=1, dilation=1"
SIZES = "input_dim, output_dim, kernel_size"
INSTANCE = "dropout=0.0, norm_layer=InstanceNorm{n}d"
BATCH = "norm_layer=BatchNorm{n}d"
POLYNOMIAL = f"{SIZES}, degree=3, {GEOMETRY}, {INSTANCE}"
PHASES = "g=5, k=3, train_ab=True"
ATTENTION = "input_dim, inner_projection=None, kernel_size=3"
FOCAL = (
    "input_dim, focal_window=3, focal_level=2, focal_factor=2, use_postln_in_modulation=True, "
    f"normalize_modulator=True, full_kan=True, degree=3, dropout=0.0, {BATCH}, *, legacy=False, "
)
MIXTURE = (
    "input_size, output_size, num_experts=16, noisy_gating=True, k=4, kernel_size=3, stride=1, "
    "padding=1, *, "
)
SPLINES = "grid_size=5, base_activation=GELU, grid_range=(-1, 1)"
CENTRES = "grid_size=8, base_activation=SiLU, grid_range=(-2, 2)"
KWARGS = "**norm_kwargs"
INSIDE = "dim_reduction=4, min_internal=16"
IGNORED = "**ignored"

IN_DIMENSIONS = {
    "KANConv{n}DLayer": f"{SIZES}, spline_order=3, {GEOMETRY}, {SPLINES}, {INSTANCE}, {KWARGS}",
    "FastKANConv{n}DLayer": f"{SIZES}, {GEOMETRY}, {CENTRES}, {INSTANCE}, {KWARGS}",
    "KALNConv{n}DLayer": f"{POLYNOMIAL}, *, legacy=False, {KWARGS}",
    "KACNConv{n}DLayer": f"{POLYNOMIAL}, {KWARGS}",
    "KAGNConv{n}DLayer": f"{POLYNOMIAL}, {KWARGS}",
    "KAGNConv{n}DLayerV2": f"{POLYNOMIAL}, *, legacy=False, {KWARGS}",
    "KAJNConv{n}DLayer": f"{POLYNOMIAL}, *, a=1.0, b=1.0, {KWARGS}",
    "KABNConv{n}DLayer": f"{POLYNOMIAL}, {KWARGS}",
    "ReLUKANConv{n}DLayer": f"{SIZES}, {PHASES}, {GEOMETRY}, {INSTANCE}, {KWARGS}",
    "BottleNeckKAGNConv{n}DLayer": f"{POLYNOMIAL}, dim_reduction=4, *, min_internal=16, {KWARGS}",
    "BottleNeckReLUKANConv{n}DLayer": f"{SIZES}, {PHASES}, {GEOMETRY}, {INSTANCE}, *, "
    f"dim_reduction=4, min_internal=16, {KWARGS}",
    "WavKANConv{n}DLayer": f"{SIZES}, {GEOMETRY}, dropout=0.0, wavelet_type='mexican_hat', "
    f"{BATCH}, wav_version='fast', {KWARGS}",
    "MoEKANConv{n}DLayer": f"{MIXTURE}spline_order=3, groups=1, dilation=1, {SPLINES}, {INSTANCE}, "
    f"{KWARGS}",
    "MoEFastKANConv{n}DLayer": f"{MIXTURE}groups=1, dilation=1, {CENTRES}, {INSTANCE}, {KWARGS}",
    "MoEKALNConv{n}DLayer": f"{MIXTURE}degree=3, groups=1, dilation=1, {INSTANCE}, legacy=False, "
    f"{KWARGS}",
    "MoEKACNConv{n}DLayer": f"{MIXTURE}degree=3, groups=1, dilation=1, {INSTANCE}, {KWARGS}",
    "MoEKAGNConv{n}DLayer": f"{MIXTURE}degree=3, groups=1, dilation=1, {INSTANCE}, {KWARGS}",
    "MoEWavKANConv{n}DLayer": f"{MIXTURE}groups=1, dilation=1, dropout=0.0, "
    f"wavelet_type='mexican_hat', {BATCH}, wav_version='fast', {KWARGS}",
    "MoEFullBottleneckKAGNConv{n}DLayer": f"{MIXTURE}degree=3, groups=1, dilation=1, {INSTANCE}, "
    f"dim_reduction=4, min_internal=16, {KWARGS}",
    "SelfKAGNtention{n}D": f"{ATTENTION}, degree=3, {GEOMETRY}, dropout=0.0, {BATCH}, {KWARGS}",
    "BottleNeckSelfKAGNtention{n}D": f"{ATTENTION}, degree=3, {GEOMETRY}, dropout=0.0, {BATCH}, "
    f"*, {INSIDE}, {KWARGS}",
    "SelfReLUKANtention{n}D": f"{ATTENTION}, {PHASES}, {GEOMETRY}, dropout=0.0, {BATCH}, {KWARGS}",
    "BottleNeckSelfReLUKANtention{n}D": f"{ATTENTION}, {PHASES}, {GEOMETRY}, dropout=0.0, {BATCH}, "
    f"*, {INSIDE}, {KWARGS}",
    "RoPEBottleNeckSelfKAGNtention{n}D": f"{ATTENTION}, degree=3, {GEOMETRY}, dropout=0.0, "
    f"rope_theta=10.0, rope_mixed=True, {BATCH}, *, {INSIDE}, legacy=False, {KWARGS}",
    "KAGNFocalModulation{n}D": f"{FOCAL}{KWARGS}",
    "BottleNeckKAGNFocalModulation{n}D": f"{FOCAL}{KWARGS}",
}
GATES = "num_experts={}, noisy_gating=True, k={}"
REDUCTION = "dim_reduction=4"
END = f"pregate=False, *, min_internal=16, {KWARGS}"
MIXTURES_IN_BOTTLENECKS = {
    1: f"{POLYNOMIAL}, {GATES.format(16, 4)}, {REDUCTION}, {END}",
    2: f"{POLYNOMIAL}, {GATES.format(8, 2)}, {REDUCTION}, {END}",
    3: f"{POLYNOMIAL}, {REDUCTION}, {GATES.format(16, 4)}, {END}",
}
ACTIVATED = "base_activation=SiLU"
KNOTS = "grid_size=5, spline_order=3, base_activation=GELU, grid_range=(-1, 1)"
INNER = "dim_reduction=8, min_internal=16"
CLASS = "layers_hidden, dropout=0.0, l1_decay=0.0"
HELPER = "layers_hidden, dropout=0.0"
GELU = "degree=3, base_activation=GELU, l1_decay=0.0"
OPTIONAL = "*, first_dropout=True"
EFFICIENT = (
    "grid_size=5, spline_order=3, scale_noise=0.1, scale_base=1.0, scale_spline=1.0, "
    "enable_standalone_scale_spline=True, base_activation=SiLU, grid_eps=0.02, grid_range=(-1, 1)"
)
RATIONAL = "num_groups=8, mode='gelu', device=None, *, legacy=False"
OTHERS = {
    "KANLayer": f"input_features, output_features, {KNOTS}",
    "KALNLayer": f"input_features, output_features, degree=3, {ACTIVATED}, *, legacy=False",
    "FastKANLayer": "input_dim, output_dim, grid_min=-2.0, grid_max=2.0, num_grids=8, "
    f"use_base_update=True, {ACTIVATED}, spline_weight_init_scale=0.1",
    "ChebyKANLayer": "input_dim, output_dim, degree",
    "GRAMLayer": "in_channels, out_channels, degree=3, act=SiLU",
    "BottleNeckGRAMLayer": f"in_channels, out_channels, degree=3, act=SiLU, {INNER}",
    "WavKANLayer": "in_features, out_features, wavelet_type='mexican_hat'",
    "JacobiKANLayer": "input_dim, output_dim, degree, a=1.0, b=1.0, act=SiLU",
    "BernsteinKANLayer": "input_dim, output_dim, degree, act=SiLU",
    "ReLUKANLayer": "input_size, g, k, output_size, train_ab=True",
    "KAN": f"{HELPER}, {KNOTS}, l1_decay=0.0, first_dropout=True, {IGNORED}",
    "KALN": f"{CLASS}, degree=3, {ACTIVATED}, first_dropout=True, *, legacy=False, {IGNORED}",
    "FastKAN": f"{CLASS}, grid_range=(-2, 2), grid_size=8, use_base_update=True, {ACTIVATED}, "
    f"spline_weight_init_scale=0.1, first_dropout=True, {IGNORED}",
    "KACN": f"{CLASS}, degree=3, first_dropout=True, {IGNORED}",
    "KAGN": f"{CLASS}, degree=3, {ACTIVATED}, first_dropout=True, {IGNORED}",
    "BottleNeckKAGN": f"{CLASS}, degree=3, {ACTIVATED}, first_dropout=True, {INNER}, {IGNORED}",
    "KABN": f"{CLASS}, degree=3, {ACTIVATED}, first_dropout=True, {IGNORED}",
    "KAJN": f"{CLASS}, degree=3, a=1.0, b=1.0, {ACTIVATED}, first_dropout=True, {IGNORED}",
    "WavKAN": f"{CLASS}, first_dropout=True, wavelet_type='mexican_hat', {IGNORED}",
    "ReLUKAN": f"{CLASS}, g=1, k=1, train_ab=True, first_dropout=True, {IGNORED}",
    "mlp_kan": f"{HELPER}, {KNOTS}, l1_decay=0.0, {OPTIONAL}",
    "mlp_fastkan": f"{HELPER}, grid_size=5, base_activation=GELU, grid_range=(-1, 1), "
    f"l1_decay=0.0, {OPTIONAL}",
    "mlp_kaln": f"{HELPER}, {GELU}, {OPTIONAL}, legacy=False",
    "mlp_kagn": f"{HELPER}, {GELU}, {OPTIONAL}",
    "mlp_kabn": f"{HELPER}, {GELU}, {OPTIONAL}",
    "mlp_bottleneck_kagn": f"{HELPER}, {GELU}, {INNER}, {OPTIONAL}",
    "mlp_kacn": f"{HELPER}, degree=3, l1_decay=0.0, {OPTIONAL}",
    "mlp_kajn": f"{HELPER}, degree=3, l1_decay=0.0, a=1.0, b=1.0, {OPTIONAL}",
    "mlp_wav_kan": f"{HELPER}, wavelet_type='mexican_hat', l1_decay=0.0, {OPTIONAL}",
    "mlp_relukan": f"{HELPER}, a=1, b=1, train_ab=True, l1_decay=0.0, {OPTIONAL}",
    "KAL_Net": f"layers_hidden, polynomial_order=3, {ACTIVATED}, *, legacy=False",
    "KAC_Net": f"layers_hidden, polynomial_order=3, {ACTIVATED}, *, legacy=False",
    "KANvolver": "layers_hidden, polynomial_order=2, base_activation=ReLU",
    "Legendvolver": f"input_channels, layers_hidden, polynomial_order=3, {ACTIVATED}",
    "Polyvolver": "polynomial_degree=2",
    "KANLinear": f"in_features, out_features, {EFFICIENT}",
    "EfficientKAN": f"layers_hidden, {EFFICIENT}",
    "KAT_Group": RATIONAL,
    "KAT_Group2D": RATIONAL,
    "KAT_Group_Torch": "num_groups=8, mode='gelu', *, legacy=False",
    "RadialBasisFunction": "grid_min=-2.0, grid_max=2.0, num_grids=8, denominator=None",
}
SIGNATURES = {
    **{
        name.format(n=n): text.format(n=n)
        for n in (1, 2, 3)
        for name, text in IN_DIMENSIONS.items()
    },
    **{
        f"MoEBottleNeckKAGNConv{n}DLayer": text.format(n=n)
        for n, text in MIXTURES_IN_BOTTLENECKS.items()
    },
    **OTHERS,
}


def test_no_name_is_missing():
    assert set(published.list_published()) == set(SIGNATURES)
    assert len(SIGNATURES) == 3 * 27 + 41


@pytest.mark.parametrize("name", SIGNATURES)
def test_signature(name):
    text = str(inspect.signature(published.get_published(name))).split(") -> ")[0]
    plain = re.sub(r"<class '[\w.]+\.(\w+)'>", r"\1", text)
    assert plain == "(" + SIGNATURES[name]
